/*
 * pressure: how near memory is to its end, and the thresholds that say so, one set for the daemon
 * and its workers.
 */
#include <math.h>

#include "ops/op.h"
#include "ops/reply.h"
#include "ops/wait.h"
#include "service/limits.h"
#include "service/report.h"

struct pressure {
  char device[80];
};

static void write_thresholds(struct writer *w, const struct pressure_thresholds *thresholds) {
  writer_hundredths(w, "moderate", thresholds->moderate);
  writer_hundredths(w, "high", thresholds->high);
  writer_hundredths(w, "critical", thresholds->critical);
}

static void write_actions(struct writer *w, const struct report_pressure *report) {
  writer_array(w, "recommendedActions");
  if (report->pressure.level >= PRESSURE_MODERATE && report->cached_bytes)
    writer_text(w, NULL, "drain_caches");
  if (report->pressure.level >= PRESSURE_HIGH && report->park_bytes)
    writer_text(w, NULL, "park");
  if (report->pressure.level >= PRESSURE_HIGH && report->unload_bytes)
    writer_text(w, NULL, "unload");
  if (report->pressure.level == PRESSURE_CRITICAL)
    writer_text(w, NULL, "refuse_new");
  writer_end(w);
}

static void write_psi(struct writer *w, const struct report_pressure *report) {
  if (!report->psi_known) {
    writer_null(w, "psi");
    return;
  }
  writer_object(w, "psi");
  writer_hundredths(w, "some10", report->psi_some10);
  writer_hundredths(w, "full10", report->psi_full10);
  writer_end(w);
}

static void write_seconds(struct writer *w, const char *key, double seconds) {
  if (seconds < 0)
    writer_null(w, key);
  else
    writer_double(w, key, seconds);
}

static enum ops_progress run(struct ops_call *call, void *params) {
  struct report_pressure report;
  struct problem problem;
  struct writer w;
  if (!wait_fresh(call, false))
    return OPS_LATER;
  if (report_pressure(ops_service(call->ops), ((const struct pressure *)params)->device, &report,
                      &problem))
    return reply_fail(call, &problem);
  reply_begin(call, &w);
  writer_text(&w, "level", pressure_name(report.pressure.level));
  writer_hundredths(&w, "percent", report.pressure.percent);
  writer_uint(&w, "availableBytes", report.available_bytes);
  writer_uint(&w, "totalBytes", report.total_bytes);
  writer_object(&w, "thresholds");
  write_thresholds(&w, &report.thresholds);
  writer_end(&w);
  writer_uint(&w, "reclaimableBytes",
              report.cached_bytes + report.park_bytes + report.unload_bytes);
  write_actions(&w, &report);
  write_seconds(&w, "timeToCriticalSeconds", report.critical.expected);
  write_seconds(&w, "timeToCriticalEarliestSeconds", report.critical.earliest);
  write_seconds(&w, "timeToCriticalLatestSeconds", report.critical.latest);
  write_psi(&w, &report);
  return reply_end(call, &w);
}

static const struct reader_field fields[] = {OP_DEVICE(struct pressure)};

const struct ops_row op_pressure_host = {.action = "memory.get_pressure",
                                         .method = OPS_GET,
                                         .path = "/api/memory/pressure",
                                         .role = CALLER_READ,
                                         .envelope = true,
                                         .params_size = sizeof(struct pressure),
                                         .summary = "Memory pressure of the host",
                                         .answer = "Pressure",
                                         .schema = "Pressure",
                                         .handler = run};

const struct ops_row op_pressure_device = {.action = "memory.get_pressure",
                                           .method = OPS_GET,
                                           .path = "/api/memory/pressure/{idDevice}",
                                           .role = CALLER_READ,
                                           .envelope = true,
                                           .fields = fields,
                                           .field_count = 1,
                                           .path_count = 1,
                                           .params_size = sizeof(struct pressure),
                                           .summary = "Memory pressure of one device",
                                           .answer = "Pressure",
                                           .schema = "Pressure",
                                           .handler = run};

/* ---- thresholds ---- */

struct thresholds {
  double moderate, high, critical; /* percent; NOT_SAID: as it is */
};

#define NOT_SAID NAN

static enum status settle(const char *name, double percent, uint32_t *hundredths,
                          struct problem *problem) {
  if (isnan(percent))
    return STATUS_OK;
  if (!(percent > 0 && percent <= 100))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, name,
                         "%s is a percentage above 0, at most 100", name);
  *hundredths = (uint32_t)(percent * 100 + 0.5);
  return STATUS_OK;
}

static enum ops_progress run_thresholds(struct ops_call *call, void *params) {
  const struct thresholds *wanted = params;
  struct pressure_thresholds thresholds = limits_thresholds(ops_service(call->ops));
  struct problem problem;
  struct writer w;
  if (settle("moderate", wanted->moderate, &thresholds.moderate, &problem) ||
      settle("high", wanted->high, &thresholds.high, &problem) ||
      settle("critical", wanted->critical, &thresholds.critical, &problem) ||
      limits_change_thresholds(ops_service(call->ops), &call->caller, &thresholds, &problem))
    return reply_fail(call, &problem);
  reply_begin(call, &w);
  write_thresholds(&w, &thresholds);
  return reply_end(call, &w);
}

static void thresholds_defaults(void *params) {
  *(struct thresholds *)params = (struct thresholds){NOT_SAID, NOT_SAID, NOT_SAID};
}

#define PERCENT(member, sentence)                                                                  \
  {                                                                                                \
    .name = #member, .type = READER_DOUBLE, .offset = offsetof(struct thresholds, member),         \
    .doc = (sentence)                                                                              \
  }

static const struct reader_field threshold_fields[] = {
    PERCENT(moderate, "from this percentage on pressure is moderate"),
    PERCENT(high, "from this percentage on it is high"),
    PERCENT(critical, "from this percentage on it is critical"),
};

const struct ops_row op_pressure_thresholds = {.action = "memory.set_thresholds",
                                               .method = OPS_PUT,
                                               .path = "/api/memory/pressure/thresholds",
                                               .role = CALLER_ADMIN,
                                               .envelope = true,
                                               .fields = threshold_fields,
                                               .field_count = OP_COUNT(threshold_fields),
                                               .params_size = sizeof(struct thresholds),
                                               .summary = "Set where pressure begins",
                                               .answer = "Thresholds",
                                               .schema = "Thresholds",
                                               .defaults = thresholds_defaults,
                                               .handler = run_thresholds};
