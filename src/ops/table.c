/*
 * table: the list of operations, in the order of the contract; each row stands in the file of its
 * subject. Forty rows are walked, not hashed: the first differing segment ends a comparison, and
 * what is asked most stands first.
 */
#include "ops/table.h"

#include <stdio.h>
#include <string.h>

#include "ops/op.h"

static const struct ops_row *const rows[] = {
    &op_status_host,     &op_status_device,       &op_usage_host,
    &op_usage_device,    &op_allocations_list,    &op_allocations_list_device,
    &op_allocations_get, &op_allocate_best,       &op_allocate_device,
    &op_allocate_free,   &op_clear_all,           &op_clear_device,
    &op_defragment_all,  &op_defragment_device,   &op_transfer_start,
    &op_transfer_get,    &op_transfer_list,       &op_transfer_cancel,
    &op_copy_copy,       &op_copy_fill,           &op_devices_list,
    &op_devices_get,     &op_limits_set,          &op_pressure_host,
    &op_pressure_device, &op_pressure_thresholds, &op_map_segments,
    &op_jobs_get,        &op_jobs_cancel,         &op_workers_list,
    &op_workers_restart, &op_events_stream,       &op_health_short,
    &op_health_detailed, &op_health_openapi,      &op_shutdown_now,
    &op_health_ping,
};
#define ROWS (sizeof rows / sizeof *rows)

/* Other names of actions that contract 5 knows. */
static const char *const aliases[][2] = {{"memory.pressure_check", "memory.get_pressure"}};

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

/* Whether the segments are the path's; values gets what stands at its {…}, which is never empty. */
static bool follows(const struct route *route, const char *path, const char **values) {
  size_t taken = 0;
  for (size_t i = 0; i < route->count; i++) {
    if (*path++ != '/')
      return false;
    size_t n = strcspn(path, "/");
    const char *segment = route->segments[i];
    if (*path == '{' && *segment)
      values[taken++] = segment;
    else if (strncmp(segment, path, n) != 0 || segment[n])
      return false;
    path += n;
  }
  return !*path;
}

static bool leads_to(const struct route *route, const struct ops_row *row, const char **values) {
  return (row->path && follows(route, row->path, values)) ||
         (row->alias && follows(route, row->alias, values));
}

static void allow(struct ops_match *out, const char *method) {
  size_t n = strlen(out->allow);
  if (!strstr(out->allow, method))
    snprintf(out->allow + n, sizeof out->allow - n, "%s%s", n ? ", " : "", method);
}

void table_match(const char *method, char *const *segments, size_t count, struct ops_match *out) {
  const struct route route = {segments, count};
  *out = (struct ops_match){.status = STATUS_NOT_FOUND};
  for (size_t i = 0; i < ROWS; i++) {
    if (!leads_to(&route, rows[i], out->values))
      continue;
    if (strcmp(ops_methods[rows[i]->method], method) == 0) {
      out->row = rows[i];
      out->status = STATUS_OK;
      return;
    }
    out->status = STATUS_METHOD_NOT_ALLOWED;
    allow(out, ops_methods[rows[i]->method]);
  }
}
