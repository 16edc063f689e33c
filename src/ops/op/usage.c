/*
 * usage: routes 3 and 4.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "ops/op.h"
#include "ops/reply.h"
#include "ops/wait.h"
#include "service/usage.h"

struct usage {
  char device[80];
  char window[32];
  uint64_t points;
  struct usage_past *past;
  bool looked;
};

static void set_defaults(void *params) {
  struct usage *usage = params;
  strcpy(usage->window, "1h");
  usage->points = 120;
}

static void double_or_null(struct writer *w, const char *key, double value) {
  if (value < 0)
    writer_null(w, key);
  else
    writer_double(w, key, value);
}

static void write_histograms(struct writer *w, const struct usage_device *d) {
  writer_array(w, "sizeHistogram");
  for (unsigned i = 0; i < USAGE_SIZES; i++) {
    writer_object(w, NULL);
    if (d->sizes[i].up_to_bytes)
      writer_uint(w, "upToBytes", d->sizes[i].up_to_bytes);
    else
      writer_null(w, "upToBytes");
    writer_uint(w, "count", d->sizes[i].count);
    writer_uint(w, "bytes", d->sizes[i].bytes);
    writer_end(w);
  }
  writer_end(w);
  writer_array(w, "lifetimeHistogram");
  for (unsigned i = 0; i < USAGE_LIFETIMES; i++) {
    writer_object(w, NULL);
    double_or_null(w, "upToSeconds",
                   d->lifetimes[i].up_to_seconds > 0 ? d->lifetimes[i].up_to_seconds : -1);
    writer_uint(w, "count", d->lifetimes[i].count);
    writer_end(w);
  }
  writer_end(w);
}

static void write_share(struct writer *w, const char *key, const char *name, uint64_t bytes,
                        uint64_t count) {
  writer_object(w, NULL);
  writer_text(w, key, name);
  writer_uint(w, "bytes", bytes);
  writer_uint(w, "count", count);
  writer_end(w);
}

static void write_shares(struct writer *w, const struct usage_device *d) {
  writer_array(w, "byPurpose");
  for (unsigned i = 0; i < VIEW_PURPOSES; i++)
    if (d->purposes[i].count)
      write_share(w, "purpose", view_purposes[i], d->purposes[i].bytes, d->purposes[i].count);
  writer_end(w);
  writer_array(w, "byOwner");
  for (uint32_t i = 0; i < d->owner_count; i++)
    write_share(w, "owner", d->owners[i].name, d->owners[i].bytes, d->owners[i].count);
  writer_end(w);
}

static void write_samples(struct writer *w, const struct usage_device *d) {
  writer_array(w, "samples");
  for (uint32_t i = 0; i < d->sample_count; i++) {
    writer_object(w, NULL);
    writer_time(w, "time", d->samples[i].time);
    writer_uint(w, "usedBytes", d->samples[i].used_bytes);
    writer_uint(w, "allocatedBytes", d->samples[i].allocated_bytes);
    writer_end(w);
  }
  writer_end(w);
}

static void write_device(struct writer *w, const struct usage_device *d) {
  writer_object(w, NULL);
  writer_text(w, "deviceId", d->device_id);
  writer_uint(w, "currentBytes", d->current_bytes);
  writer_uint(w, "peakBytes", d->peak_bytes);
  writer_uint(w, "averageBytes", d->average_bytes);
  writer_uint(w, "p50Bytes", d->p50_bytes);
  writer_uint(w, "p95Bytes", d->p95_bytes);
  writer_double(w, "allocationsPerSecond", d->allocations_per_second);
  writer_double(w, "deallocationsPerSecond", d->deallocations_per_second);
  if (d->total_allocations)
    writer_uint(w, "averageAllocationBytes", d->average_allocation_bytes);
  else
    writer_null(w, "averageAllocationBytes");
  writer_uint(w, "totalAllocations", d->total_allocations);
  writer_uint(w, "activeAllocations", d->active_allocations);
  write_histograms(w, d);
  write_shares(w, d);
  writer_object(w, "trend");
  writer_text(w, "direction", usage_directions[d->direction]);
  writer_double(w, "bytesPerSecond", d->bytes_per_second);
  double_or_null(w, "timeToFullSeconds", d->full.expected);
  double_or_null(w, "timeToFullEarliestSeconds", d->full.earliest);
  double_or_null(w, "timeToFullLatestSeconds", d->full.latest);
  writer_end(w);
  write_samples(w, d);
  writer_end(w);
}

static enum ops_progress answer(struct ops_call *call, const struct usage_report *report) {
  struct writer w;
  reply_begin(call, &w);
  writer_time(&w, "windowStart", report->window_start);
  writer_time(&w, "windowEnd", report->window_end);
  writer_array(&w, "devices");
  for (uint32_t i = 0; i < report->count; i++)
    write_device(&w, &report->devices[i]);
  writer_end(&w);
  return reply_end(call, &w);
}

enum status op_usage_window(const char *text, uint64_t *ns, struct problem *problem) {
  if (text[strspn(text, "0123456789.")] == '\0')
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "window",
                         "window wants a unit, s, m, h or d, after its number: 90s, 10m, 1h or 7d");
  if (units_parse_duration(text, ns) && *ns >= CLOCK_SECOND && *ns <= OP_WINDOW_MAX)
    return STATUS_OK;
  return problem_field(problem, STATUS_INVALID_ARGUMENT, "window",
                       "window is a time from 1s to 366d, as in 90s, 10m, 1h or 7d");
}

/* PENDING: the history is being asked, and the handler runs again. */
static enum status look_back(struct ops_call *call, struct usage *usage,
                             const struct usage_params *params, struct problem *problem) {
  struct job *job;
  if (usage->looked)
    return STATUS_OK;
  usage->looked = true;
  enum status status = usage_look_back(ops_service(call->ops), params, &usage->past, &job, problem);
  return status == STATUS_PENDING && wait_job(call, job) ? STATUS_OK : status;
}

static enum ops_progress run(struct ops_call *call, void *arg) {
  struct usage *usage = arg;
  struct usage_params params = {.points = usage->points};
  struct problem problem;
  if (op_usage_window(usage->window, &params.window_ns, &problem))
    return reply_fail(call, &problem);
  if (!wait_fresh(call, false))
    return OPS_LATER;
  memcpy(params.device, usage->device, sizeof params.device);
  enum status status = look_back(call, usage, &params, &problem);
  if (status == STATUS_PENDING)
    return OPS_LATER;
  params.past = usage->past;
  struct usage_report report;
  if (!status)
    status = usage_make(ops_service(call->ops), &params, &report, &problem);
  usage_past_give(usage->past);
  usage->past = NULL;
  if (status)
    return reply_fail(call, &problem);
  enum ops_progress progress = answer(call, &report);
  free(report.devices);
  return progress;
}

static const struct reader_field fields[] = {
    OP_DEVICE(struct usage),
    OP_WINDOW(struct usage, window),
    {.name = "points",
     .type = READER_UINT,
     .offset = offsetof(struct usage, points),
     .min = 1,
     .max = USAGE_SAMPLES,
     .otherwise = "120",
     .doc = "samples at most"},
};

const struct ops_row op_usage_host = {.action = "memory.get_usage",
                                      .method = OPS_GET,
                                      .path = "/api/memory/usage",
                                      .role = CALLER_READ,
                                      .envelope = true,
                                      .fields = fields + 1,
                                      .field_count = 2,
                                      .query_count = 2,
                                      .params_size = sizeof(struct usage),
                                      .summary = "What happened in a window, on all devices",
                                      .answer = "Usage",
                                      .schema = "Usage",
                                      .defaults = set_defaults,
                                      .handler = run};

const struct ops_row op_usage_device = {.action = "memory.get_usage",
                                        .method = OPS_GET,
                                        .path = "/api/memory/usage/{idDevice}",
                                        .role = CALLER_READ,
                                        .envelope = true,
                                        .fields = fields,
                                        .field_count = OP_COUNT(fields),
                                        .path_count = 1,
                                        .query_count = 2,
                                        .params_size = sizeof(struct usage),
                                        .summary = "What happened in a window, on one device",
                                        .answer = "Usage",
                                        .schema = "Usage",
                                        .defaults = set_defaults,
                                        .handler = run};
