/*
 * table: the list of operations, in the order of the contract; each row stands in the file of its
 * subject. Fifty rows are walked, not hashed: the first differing segment ends a comparison, and
 * what is asked most stands first.
 */
#include "ops/table.h"

#include <stdio.h>
#include <string.h>

#include "ops/op.h"

static const struct ops_row *const rows[] = {
    &op_status_host,       &op_status_device,       &op_usage_host,
    &op_usage_device,      &op_allocations_list,    &op_allocations_list_device,
    &op_allocations_get,   &op_allocate_best,       &op_allocate_device,
    &op_allocate_free,     &op_clear_all,           &op_clear_device,
    &op_defragment_all,    &op_defragment_device,   &op_transfer_start,
    &op_transfer_get,      &op_transfer_list,       &op_transfer_cancel,
    &op_copy_copy,         &op_copy_fill,           &op_devices_list,
    &op_devices_get,       &op_limits_set,          &op_pressure_host,
    &op_pressure_device,   &op_pressure_thresholds, &op_map_segments,
    &op_jobs_get,          &op_jobs_cancel,         &op_workers_list,
    &op_workers_restart,   &op_events_stream,       &op_health_short,
    &op_health_detailed,   &op_health_openapi,      &op_shutdown_now,
    &op_health_ping,       &op_attach_attach,       &op_attach_detach,
    &op_attach_resume,     &op_models_list,         &op_models_get,
    &op_models_load_start, &op_models_unload,       &op_models_park,
    &op_models_change,     &op_models_status,       &op_models_optimize_start,
    &op_optimization_list, &op_optimization_apply,  &op_analytics_host,
    &op_metrics,           &op_jobs_list,
};
#define ROWS (sizeof rows / sizeof(void *))

/* Other names of actions that contract 5 knows. */
static const char *const aliases[][2] = {{"memory.pressure_check", "memory.get_pressure"},
                                         {"memory.get_model", "memory.get_model_info"},
                                         {"memory.get_model_status", "memory.model_status"},
                                         {"memory.optimize_models", "memory.model_optimize"}};

const struct ops_row *const *table_rows(size_t *count) {
  *count = ROWS;
  return rows;
}

const struct ops_row *table_by_action(const char *action) {
  for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
    if (strcmp(aliases[i][0], action) == 0)
      action = aliases[i][1];
  for (size_t i = 0; i < ROWS; i++)
    if (rows[i]->action && strcmp(rows[i]->action, action) == 0)
      return rows[i];
  return NULL;
}

const struct ops_row *table_variant(const struct ops_row *row, struct reader_value data,
                                    enum writer_names names) {
  const char *name = names == WRITER_SNAKE ? "device_id" : "deviceId";
  if (row->path_count || !reader_is_object(data) || !reader_get(data, name).json)
    return row;
  for (size_t i = 0; i < ROWS; i++)
    if (rows[i]->path_count && rows[i]->action && strcmp(rows[i]->action, row->action) == 0)
      return rows[i];
  return row;
}

struct route {
  char *const *segments;
  size_t count;
};

#define NO_WAY SIZE_MAX

/* How many segments stand at the path's {…}, where they are never empty; NO_WAY when the segments
 * are not the path's. */
static size_t follow(const struct route *route, const char *path, const char **values) {
  size_t taken = 0;
  for (size_t i = 0; i < route->count; i++) {
    if (*path++ != '/')
      return NO_WAY;
    const char *segment = route->segments[i];
    if (*path == '{' && *segment) {
      values[taken++] = segment;
      path = strchr(path, '}') + 1;
      continue;
    }
    while (*segment && *segment == *path)
      segment++, path++;
    if (*segment || (*path && *path != '/'))
      return NO_WAY;
  }
  return *path ? NO_WAY : taken;
}

static size_t lead_to(const struct route *route, const struct ops_row *row, const char **values) {
  size_t taken = row->path ? follow(route, row->path, values) : NO_WAY;
  return taken == NO_WAY && row->alias ? follow(route, row->alias, values) : taken;
}

static void allow(struct ops_match *out, const char *method) {
  size_t n = strlen(out->allow);
  if (!strstr(out->allow, method))
    snprintf(out->allow + n, sizeof out->allow - n, "%s%s", n ? ", " : "", method);
}

/* Where two paths fit, the one that says more of it by itself is meant: /allocations/allocate is no
 * allocation's id. */
void table_match(const char *method, char *const *segments, size_t count, struct ops_match *out) {
  const struct route route = {segments, count};
  size_t best = NO_WAY;
  *out = (struct ops_match){.status = STATUS_NOT_FOUND};
  for (size_t i = 0; i < ROWS; i++) {
    const char *values[OPS_PATH_VALUES] = {NULL};
    size_t taken = lead_to(&route, rows[i], values);
    if (taken == NO_WAY || taken > best)
      continue;
    if (taken < best)
      *out = (struct ops_match){.status = STATUS_METHOD_NOT_ALLOWED};
    best = taken;
    allow(out, ops_methods[rows[i]->method]);
    if (strcmp(ops_methods[rows[i]->method], method) != 0)
      continue;
    out->row = rows[i];
    out->status = STATUS_OK;
    memcpy(out->values, values, sizeof values);
    if (!taken)
      return; /* no path says more */
  }
}
