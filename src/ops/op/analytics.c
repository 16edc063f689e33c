/*
 * analytics: what the devices, the operations and the transfers were like, and who seems to leak.
 * The history is given what it lacks of operations before it is asked; where there is none, they
 * are counted since the daemon started.
 */
#include <stdlib.h>
#include <string.h>

#include "ops/latency.h"
#include "ops/op.h"
#include "ops/reply.h"
#include "ops/table.h"
#include "ops/wait.h"
#include "service/analytics.h"
#include "service/layers.h"
#include "service/leaks.h"
#include "service/service.h"

#define LEAKS_TOLD 64

static const char *const levels[] = {"low", "moderate", "high", "critical"};

struct params {
  char window[32];
  bool looked; /* the history was asked */
  struct analytics_past *past;
};

static void set_defaults(void *params) { strcpy(((struct params *)params)->window, "1h"); }

static void write_known(struct writer *w, const char *key, double value) {
  if (value < 0)
    writer_null(w, key);
  else
    writer_double(w, key, value);
}

static void write_bytes(struct writer *w, const char *key, double bytes) {
  if (bytes < 0)
    writer_null(w, key);
  else
    writer_uint(w, key, (uint64_t)bytes);
}

/* ---- devices ---- */

static void write_figure(struct writer *w, const char *key, bool known, uint64_t bytes) {
  if (known)
    writer_uint(w, key, bytes);
  else
    writer_null(w, key);
}

static void write_means(struct writer *w, const char *key, const double *values, int count) {
  writer_array(w, key);
  for (int i = 0; i < count; i++)
    write_bytes(w, NULL, values[i]);
  writer_end(w);
}

static void write_device(struct writer *w, const struct analytics_device *d) {
  writer_object(w, NULL);
  writer_text(w, "deviceId", d->device_id);
  write_figure(w, "peakBytes", d->known, d->peak_bytes);
  write_figure(w, "averageBytes", d->known, d->average_bytes);
  write_figure(w, "p95Bytes", d->known, d->p95_bytes);
  writer_array(w, "fragmentation");
  for (uint32_t i = 0; i < d->point_count; i++) {
    writer_object(w, NULL);
    writer_time(w, "time", d->points[i].time);
    writer_hundredths(w, "percent", d->points[i].fragmentation);
    writer_uint(w, "largestFreeBytes", d->points[i].largest_free_bytes);
    writer_end(w);
  }
  writer_end(w);
  write_means(w, "busiestHours", d->hours, ANALYTICS_HOURS);
  write_means(w, "busiestWeekdays", d->weekdays, ANALYTICS_WEEKDAYS);
  writer_array(w, "pressure");
  for (int i = PRESSURE_LOW; i <= PRESSURE_CRITICAL; i++) {
    writer_object(w, NULL);
    writer_text(w, "level", levels[i]);
    writer_uint(w, "seconds", d->level_seconds[i]);
    writer_end(w);
  }
  writer_end(w);
  writer_end(w);
}

/* ---- operations ---- */

static void write_operation(struct writer *w, const struct latency_figures *figures) {
  writer_object(w, NULL);
  writer_text(w, "name", figures->action);
  writer_uint(w, "count", figures->count);
  writer_uint(w, "errors", figures->failed);
  writer_double(w, "p50Ms", latency_quantile(figures, 0.50) / 1e6);
  writer_double(w, "p95Ms", latency_quantile(figures, 0.95) / 1e6);
  writer_double(w, "p99Ms", latency_quantile(figures, 0.99) / 1e6);
  writer_double(w, "maxMs", (double)figures->max_ns / 1e6);
  writer_end(w);
}

static void write_all_since_start(struct ops_call *call, struct writer *w) {
  struct latency_figures figures;
  size_t count;
  table_rows(&count);
  for (size_t i = 0; i < count; i++)
    if (latency_read(ops_latency(call->ops), i, &figures))
      write_operation(w, &figures);
}

static void write_all(const struct history_operation *found, uint32_t count, struct writer *w) {
  for (uint32_t i = 0; i < count; i++) {
    struct latency_figures figures = {.action = found[i].action,
                                      .count = found[i].count,
                                      .failed = found[i].errors,
                                      .sum_ns = found[i].sum_ns,
                                      .max_ns = found[i].max_ns};
    memcpy(figures.buckets, found[i].buckets, sizeof figures.buckets);
    write_operation(w, &figures);
  }
}

static void write_operations(struct ops_call *call, const struct analytics_past *past,
                             struct writer *w) {
  const struct history_operation *found = NULL;
  uint32_t found_count;
  if (past && !analytics_operations(past, &found, &found_count)) {
    writer_null(w, "operations");
    return;
  }
  writer_array(w, "operations");
  if (found)
    write_all(found, found_count, w);
  else
    write_all_since_start(call, w);
  writer_end(w);
}

/* ---- layers ---- */

static void write_mean(struct writer *w, const char *key, uint64_t sum_ns, uint64_t count) {
  if (count)
    writer_double(w, key, (double)sum_ns / 1e6 / (double)count);
  else
    writer_null(w, key);
}

static void write_layers(struct ops_call *call, uint64_t window, struct writer *w) {
  static const char *const names[MOVER_ACTIONS] = {[MOVER_TRANSFER] = "memory.transfer",
                                                   [MOVER_COPY] = "memory.copy",
                                                   [MOVER_FILL] = "memory.fill",
                                                   [MOVER_DEFRAGMENT] = "memory.defragment",
                                                   [MOVER_CLEAR] = "memory.clear",
                                                   [MOVER_LOAD] = "memory.load_model",
                                                   [MOVER_OPTIMIZE] = "memory.model_optimize"};
  struct layers_row rows[MOVER_ACTIONS];
  layers_read(ops_service(call->ops), window, rows);
  writer_array(w, "layers");
  for (int action = 0; action < MOVER_ACTIONS; action++) {
    const struct layers_row *row = &rows[action];
    if (!row->count || !names[action])
      continue;
    writer_object(w, NULL);
    writer_text(w, "operation", names[action]);
    writer_uint(w, "count", row->count);
    write_mean(w, "decisionMs", row->decision_ns, row->count);
    write_mean(w, "wireMs", row->wire_ns, row->told);
    write_mean(w, "workerMs", row->worker_ns, row->split);
    write_mean(w, "deviceMs", row->device_ns, row->split);
    writer_end(w);
  }
  writer_end(w);
}

/* ---- transfers, leaks ---- */

static void write_transfer(struct writer *w, const struct analytics_transfer *t) {
  writer_object(w, NULL);
  writer_text(w, "from", t->from);
  writer_text(w, "to", t->to);
  writer_text_or_null(w, "path", t->path);
  writer_uint(w, "count", t->count);
  writer_uint(w, "bytes", t->bytes);
  write_bytes(w, "p50BytesPerSecond", t->p50);
  write_bytes(w, "bestBytesPerSecond", t->best);
  writer_uint(w, "failed", t->failed);
  writer_end(w);
}

static void write_leaks(struct ops_call *call, struct writer *w) {
  struct leak leaks[LEAKS_TOLD];
  uint32_t count = leaks_find(ops_service(call->ops), leaks, LEAKS_TOLD);
  writer_array(w, "leaks");
  for (uint32_t i = 0; i < count; i++) {
    writer_object(w, NULL);
    writer_text(w, "owner", leaks[i].owner);
    writer_id(w, "ownerId", 'o', leaks[i].owner_id);
    writer_uint_or_null(w, "pid", (uint64_t)leaks[i].pid);
    writer_text(w, "deviceId", leaks[i].device_id);
    write_known(w, "bytesPerSecond", leaks[i].bytes_per_second);
    writer_uint(w, "bytes", leaks[i].bytes);
    writer_time(w, "since", leaks[i].since);
    writer_end(w);
  }
  writer_end(w);
}

static void let_go(struct params *params) {
  analytics_past_give(params->past);
  params->past = NULL;
}

/* PENDING: the history is being asked, and the handler runs again. */
static enum status look_back(struct ops_call *call, struct params *params, uint64_t window,
                             struct problem *problem) {
  struct job *job;
  if (params->looked)
    return STATUS_OK;
  params->looked = true;
  latency_give(ops_latency(call->ops), service_history(ops_service(call->ops)));
  enum status status =
      analytics_look_back(ops_service(call->ops), window, &params->past, &job, problem);
  return status == STATUS_PENDING && wait_job(call, job) ? STATUS_OK : status;
}

static enum ops_progress run(struct ops_call *call, void *arg) {
  struct params *params = arg;
  struct analytics found;
  struct problem problem;
  struct writer w;
  uint64_t window;
  if (op_usage_window(params->window, &window, &problem))
    return reply_fail(call, &problem);
  enum status status = look_back(call, params, window, &problem);
  if (status == STATUS_PENDING)
    return OPS_LATER;
  if (!status)
    status = analytics_make(ops_service(call->ops), window, params->past, &found, &problem);
  if (status) {
    let_go(params);
    return reply_fail(call, &problem);
  }
  reply_begin(call, &w);
  writer_time(&w, "windowStart", found.window_start);
  writer_time(&w, "windowEnd", found.window_end);
  writer_array(&w, "devices");
  for (uint32_t i = 0; i < found.device_count; i++)
    write_device(&w, &found.devices[i]);
  writer_end(&w);
  write_operations(call, params->past, &w);
  write_layers(call, window, &w);
  writer_array(&w, "transfers");
  for (uint32_t i = 0; i < found.transfer_count; i++)
    write_transfer(&w, &found.transfers[i]);
  writer_end(&w);
  write_leaks(call, &w);
  analytics_free(&found);
  let_go(params);
  return reply_end(call, &w);
}

static const struct reader_field fields[] = {OP_WINDOW(struct params, window)};

const struct ops_row op_analytics_host = {
    .action = "memory.get_analytics",
    .method = OPS_GET,
    .path = "/api/memory/analytics",
    .role = CALLER_READ,
    .envelope = true,
    .fields = fields,
    .field_count = OP_COUNT(fields),
    .query_count = OP_COUNT(fields),
    .params_size = sizeof(struct params),
    .summary = "What devices, operations and transfers were like, and who seems to leak",
    .answer = "Analytics",
    .schema = "Analytics",
    .defaults = set_defaults,
    .handler = run};
