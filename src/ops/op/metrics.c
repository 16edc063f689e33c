/*
 * metrics: for Prometheus. Labels are devices, workers, residencies and operations: few, and known
 * before. What is not known has no sample.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/version.h"
#include "ops/exposition.h"
#include "ops/latency.h"
#include "ops/op.h"
#include "ops/reply.h"
#include "service/keeper.h"
#include "service/model.h"
#include "service/predict.h"
#include "service/report.h"
#include "service/service.h"
#include "service/usage.h"

#define EDGE_FIRST 14 /* 2^14 ns = 16 us; every fourth fold is an edge of the histogram */
#define EDGE_STEP 2
#define EDGE_LAST 36 /* 69 s */

/* A sample with one label. */
static void add(struct buf *out, const char *name, struct exposition_label label, double value) {
  exposition_add(
      out,
      &(struct exposition_sample){.name = name, .suffix = "", .labels = {label}, .label_count = 1},
      value);
}

/* ---- devices ---- */

static const struct gauge {
  const char *name, *help;
  size_t offset; /* of an uint64_t in struct view_figures */
} gauges[] = {
    {"memkeep_device_total_bytes", "Memory of the device.",
     offsetof(struct view_figures, total_bytes)},
    {"memkeep_device_used_bytes", "Memory that anybody uses.",
     offsetof(struct view_figures, used_bytes)},
    {"memkeep_device_available_bytes", "Memory that an allocation could have.",
     offsetof(struct view_figures, available_bytes)},
    {"memkeep_device_allocated_bytes", "Memory in allocations.",
     offsetof(struct view_figures, allocated_bytes)},
    {"memkeep_device_committed_bytes", "Memory in segments.",
     offsetof(struct view_figures, committed_bytes)},
    {"memkeep_device_cached_bytes", "Memory in segments that are kept without an allocation.",
     offsetof(struct view_figures, cached_bytes)},
    {"memkeep_device_external_bytes", "Memory that others hold.",
     offsetof(struct view_figures, external_bytes)},
    {"memkeep_device_reserved_bytes", "Memory that is held back.",
     offsetof(struct view_figures, reserved_bytes)},
    {"memkeep_device_lingering_bytes", "Memory that was freed but is still attached.",
     offsetof(struct view_figures, lingering_bytes)},
    {"memkeep_device_largest_free_bytes", "The largest allocation that needs no new segment.",
     offsetof(struct view_figures, largest_free_bytes)},
};

static struct exposition_label label_of(const struct view_device *device) {
  return (struct exposition_label){"device", device->info->id};
}

typedef double device_fn(const struct view_device *device);

static double allocations_of(const struct view_device *device) {
  return device->figures.active_allocations;
}
static double segments_of(const struct view_device *device) { return device->figures.segments; }
static double fragmentation_of(const struct view_device *device) {
  return device->figures.fragmentation / 10000.0;
}
static double pressure_of(const struct view_device *device) {
  return device->pressure.percent / 10000.0;
}
static double level_of(const struct view_device *device) { return device->pressure.level; }
static double health_of(const struct view_device *device) { return device->health; }
static double dead_of(const struct view_device *device) {
  double bytes = 0;
  for (uint32_t i = 0; i < device->process_count; i++) {
    const struct device_process *one = &device->processes[i].process;
    bytes += one->dead && one->used_bytes != DEVICE_BYTES_UNKNOWN ? (double)one->used_bytes : 0;
  }
  return bytes;
}

static const struct derived {
  const char *name, *help;
  device_fn *value;
} derived[] = {
    {"memkeep_device_allocations", "Allocations that are alive.", allocations_of},
    {"memkeep_device_segments", "Segments that the driver gave.", segments_of},
    {"memkeep_device_fragmentation_ratio", "Share of the free memory that is in pieces.",
     fragmentation_of},
    {"memkeep_device_pressure_ratio", "How full the device counts as, 0 to 1.", pressure_of},
    {"memkeep_device_pressure_level", "0 low, 1 moderate, 2 high, 3 critical.", level_of},
    {"memkeep_device_health", "0 healthy, 1 warning, 2 critical, 3 error.", health_of},
    {"memkeep_device_dead_process_bytes",
     "Memory that the driver counts for processes that are gone.", dead_of},
};

static void write_forecasts(struct service *service, const struct view_host *host,
                            struct buf *out) {
  static const char name[] = "memkeep_device_full_seconds";
  exposition_family(out, name, EXPOSITION_GAUGE,
                    "Time until the device is full, where its use rises.");
  for (uint32_t i = 0; i < host->device_count; i++) {
    struct forecast forecast = usage_forecast(service, i);
    double seconds =
        forecast_when(&forecast, (double)host->devices[i].figures.total_bytes).expected;
    if (seconds >= 0)
      add(out, name, label_of(&host->devices[i]), seconds);
  }
}

static void write_devices(struct service *service, const struct view_host *host, struct buf *out) {
  for (size_t i = 0; i < OP_COUNT(gauges); i++) {
    exposition_family(out, gauges[i].name, EXPOSITION_GAUGE, gauges[i].help);
    for (uint32_t d = 0; d < host->device_count; d++) {
      const char *at = (const char *)&host->devices[d].figures + gauges[i].offset;
      uint64_t value = *(const uint64_t *)(const void *)at;
      if (value != DEVICE_BYTES_UNKNOWN)
        add(out, gauges[i].name, label_of(&host->devices[d]), (double)value);
    }
  }
  for (size_t i = 0; i < OP_COUNT(derived); i++) {
    exposition_family(out, derived[i].name, EXPOSITION_GAUGE, derived[i].help);
    for (uint32_t d = 0; d < host->device_count; d++)
      add(out, derived[i].name, label_of(&host->devices[d]), derived[i].value(&host->devices[d]));
  }
  write_forecasts(service, host, out);
}

/* ---- the daemon, models, workers ---- */

static void write_one(struct buf *out, const char *name, const char *help, double value) {
  exposition_family(out, name, EXPOSITION_GAUGE, help);
  exposition_add(out, &(struct exposition_sample){.name = name, .suffix = ""}, value);
}

static void write_daemon(struct service *service, const struct view_host *host, struct buf *out) {
  struct keeper_state keeper;
  struct model_totals models;
  service_keeper_state(service, &keeper);
  model_count(service, &models);
  exposition_family(out, "memkeep_build_info", EXPOSITION_GAUGE, "The version that runs.");
  add(out, "memkeep_build_info", (struct exposition_label){"version", VERSION_TEXT}, 1);
  write_one(out, "memkeep_start_time_seconds", "When the daemon started, since 1970.",
            (double)service_started_at(service) / 1e9);
  write_one(out, "memkeep_durable", "1: nothing would be lost if the daemon died now.",
            keeper.durable);
  write_one(out, "memkeep_models", "Models that are in memory.", models.loaded);
  write_one(out, "memkeep_model_device_bytes", "Memory of models on their devices.",
            (double)models.device_bytes);
  write_one(out, "memkeep_model_ram_bytes", "Memory of models' copies in RAM.",
            (double)models.ram_bytes);
  write_one(out, "memkeep_coordination_conflicts",
            "Differences between what workers say and what the daemon knows.", host->conflicts);
}

static struct exposition_label name_of(const struct view_worker *worker) {
  return (struct exposition_label){"worker", worker->id};
}

static void write_workers(struct service *service, struct buf *out) {
  struct view_worker *workers = calloc(VIEW_WORKERS, sizeof *workers);
  uint32_t count = workers ? service_workers(service, workers, VIEW_WORKERS) : 0;
  exposition_family(out, "memkeep_worker_up", EXPOSITION_GAUGE,
                    "1: it works, or is stopped until it is needed.");
  for (uint32_t i = 0; i < count; i++)
    add(out, "memkeep_worker_up", name_of(&workers[i]), view_worker_is_well(workers[i].state));
  exposition_family(out, "memkeep_worker_restarts_total", EXPOSITION_COUNTER,
                    "How often it was started anew.");
  for (uint32_t i = 0; i < count; i++)
    add(out, "memkeep_worker_restarts_total", name_of(&workers[i]), workers[i].restarts);
  exposition_family(out, "memkeep_worker_memory_bytes", EXPOSITION_GAUGE,
                    "Memory of its own, as it says.");
  for (uint32_t i = 0; i < count; i++)
    if (workers[i].figures_known && !workers[i].memory_unknown)
      add(out, "memkeep_worker_memory_bytes", name_of(&workers[i]),
          (double)workers[i].memory_bytes);
  free(workers);
}

/* ---- operations ---- */

static void add_operation(struct buf *out, const struct latency_figures *figures,
                          const char *suffix, double value) {
  exposition_add(out,
                 &(struct exposition_sample){.name = "memkeep_operation_seconds",
                                             .suffix = suffix,
                                             .labels = {{"operation", figures->action}},
                                             .label_count = 1},
                 value);
}

static void write_histogram(const struct latency_figures *figures, struct buf *out) {
  char edge[24];
  struct exposition_sample bucket = {.name = "memkeep_operation_seconds",
                                     .suffix = "_bucket",
                                     .labels = {{"operation", figures->action}, {"le", edge}},
                                     .label_count = 2};
  for (unsigned i = EDGE_FIRST; i <= EDGE_LAST; i += EDGE_STEP) {
    snprintf(edge, sizeof edge, "%.9g", (double)(UINT64_C(1) << i) / 1e9);
    exposition_add(out, &bucket, (double)latency_up_to(figures, i));
  }
  snprintf(edge, sizeof edge, "+Inf");
  exposition_add(out, &bucket, (double)figures->count);
  add_operation(out, figures, "_sum", (double)figures->sum_ns / 1e9);
  add_operation(out, figures, "_count", (double)figures->count);
}

static void write_operations(const struct ops *ops, struct buf *out) {
  size_t count;
  struct latency_figures figures;
  ops_rows(&count);
  exposition_family(out, "memkeep_operation_seconds", EXPOSITION_HISTOGRAM,
                    "How long operations took until their answer.");
  for (size_t i = 0; i < count; i++)
    if (latency_read(ops_latency(ops), i, &figures))
      write_histogram(&figures, out);
  exposition_family(out, "memkeep_operation_errors_total", EXPOSITION_COUNTER,
                    "Operations that were refused or failed.");
  for (size_t i = 0; i < count; i++)
    if (latency_read(ops_latency(ops), i, &figures))
      add(out, "memkeep_operation_errors_total",
          (struct exposition_label){"operation", figures.action}, (double)figures.failed);
}

/* ---- predictions ---- */

static void add_judged(struct buf *out, int kind, const char *needed, uint64_t count) {
  exposition_add(
      out,
      &(struct exposition_sample){.name = "memkeep_predictions_judged_total",
                                  .suffix = "",
                                  .labels = {{"kind", predict_kinds[kind]}, {"needed", needed}},
                                  .label_count = 2},
      (double)count);
}

static void write_predictions(struct service *service, struct buf *out) {
  struct predict_figures figures[PREDICT_KINDS];
  predict_look(service, figures);
  exposition_family(out, "memkeep_prediction_on", EXPOSITION_GAUGE,
                    "1: it acts; 0: not configured, or it switched itself off.");
  for (int i = 0; i < PREDICT_KINDS; i++)
    add(out, "memkeep_prediction_on", (struct exposition_label){"kind", predict_kinds[i]},
        figures[i].on && !figures[i].disabled);
  exposition_family(out, "memkeep_predictions_total", EXPOSITION_COUNTER,
                    "Acts ahead of requests.");
  for (int i = 0; i < PREDICT_KINDS; i++)
    add(out, "memkeep_predictions_total", (struct exposition_label){"kind", predict_kinds[i]},
        (double)figures[i].made);
  exposition_family(out, "memkeep_predictions_judged_total", EXPOSITION_COUNTER,
                    "Those of which it is known whether they were needed.");
  for (int i = 0; i < PREDICT_KINDS; i++) {
    add_judged(out, i, "true", figures[i].needed);
    add_judged(out, i, "false", figures[i].judged - figures[i].needed);
  }
}

static enum ops_progress run(struct ops_call *call, void *params) {
  struct service *service = ops_service(call->ops);
  struct view_host *host = calloc(1, sizeof *host);
  struct problem problem;
  (void)params;
  if (host) {
    report_host(service, host);
    write_daemon(service, host, &call->out);
    write_devices(service, host, &call->out);
    write_workers(service, &call->out);
    write_predictions(service, &call->out);
    write_operations(call->ops, &call->out);
    free(host);
    call->http_status = 200;
  }
  if (host && !call->out.failed)
    return OPS_DONE;
  problem_set(&problem, STATUS_INTERNAL_ERROR, "not enough memory for the metrics");
  return reply_fail(call, &problem);
}

const struct ops_row op_metrics = {.method = OPS_GET,
                                   .path = "/metrics",
                                   .role = CALLER_READ,
                                   .envelope = false,
                                   .type = EXPOSITION_TYPE,
                                   .summary = "Figures for Prometheus",
                                   .answer = "Text of Prometheus' format 0.0.4",
                                   .schema = NULL,
                                   .handler = run};
