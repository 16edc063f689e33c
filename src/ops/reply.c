/*
 * reply: answers are streamed into call->out; nothing is built before. `details` of an error are
 * driven by the problem alone: a subject is named by what kind of thing it is, a field and what is
 * allowed in its place as they are, and a 507 always says how much space there is.
 */
#include "ops/reply.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"

#define RETRY_SECONDS 1 /* what is overloaded or restarting here is back within that */

static void write_request_id(const struct ops_call *call, struct writer *w) {
  if (call->request_id)
    writer_raw(w, "requestId", call->request_id, strlen(call->request_id));
  else if (!call->http_envelope)
    writer_null(w, "requestId");
}

static void write_stamp(const struct ops_call *call, struct writer *w) {
  writer_time(w, "timestamp", clock_real());
  writer_text(w, "correlationId", call->caller.correlation);
}

void reply_begin(struct ops_call *call, struct writer *w) {
  if (!call->http_status)
    call->http_status = 200;
  writer_init(w, &call->out, call->names);
  writer_object(w, NULL);
  if (!call->row->envelope)
    return;
  write_request_id(call, w);
  writer_bool(w, "success", true);
  writer_object(w, "data");
}

void reply_share(struct ops_call *call, struct share *share) {
  assert(call->share_count < OPS_SHARES);
  call->shares[call->share_count++] = *share;
  share->kind = SHARE_NONE;
}

void reply_drop_shares(struct ops_call *call) {
  while (call->share_count)
    share_close(&call->shares[--call->share_count]);
}

enum ops_progress reply_end(struct ops_call *call, struct writer *w) {
  writer_end(w);
  if (call->row->envelope) {
    if (call->share_count)
      writer_uint(w, "fds", call->share_count);
    if (call->http_envelope) {
      writer_text(w, "message",
                  call->http_status == 202 ? "Started; ask for the job" : call->row->answer);
      writer_null(w, "error");
      write_stamp(call, w);
    }
    writer_end(w);
  }
  if (!call->out.failed)
    return OPS_DONE;
  struct problem problem;
  problem_set(&problem, STATUS_INTERNAL_ERROR, "the answer is too large");
  return reply_fail(call, &problem);
}

/* ---- errors ---- */

static const struct subject {
  enum status status;
  const char *key;
} subjects[] = {
    {STATUS_DEVICE_NOT_FOUND, "deviceId"},         {STATUS_DEVICE_UNAVAILABLE, "deviceId"},
    {STATUS_ALLOCATION_NOT_FOUND, "allocationId"}, {STATUS_ALLOCATION_BUSY, "allocationId"},
    {STATUS_ALLOCATION_LOST, "allocationId"},      {STATUS_TRANSFER_NOT_FOUND, "transferId"},
    {STATUS_MODEL_NOT_FOUND, "modelId"},           {STATUS_MODEL_BUSY, "modelId"},
    {STATUS_WORKER_NOT_FOUND, "workerId"},         {STATUS_WORKER_UNAVAILABLE, "workerId"},
    {STATUS_WORKER_TIMEOUT, "workerId"},
};

static const struct prefix {
  char letter;
  const char *key;
} prefixes[] = {
    {ID_ALLOCATION, "allocationId"}, {ID_JOB, "jobId"},     {ID_TRANSFER, "transferId"},
    {ID_SEGMENT, "segmentId"},       {ID_MODEL, "modelId"},
};

static const char *subject_key(const struct problem *problem) {
  for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
    if (subjects[i].status == problem->status)
      return subjects[i].key;
  for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
    if (id_parse(prefixes[i].letter, problem->subject))
      return prefixes[i].key;
  return problem->status == STATUS_NOT_FOUND ? "jobId" : "deviceId";
}

/* Fields are named by the service in camelCase; unknown ones are the client's own words. */
static void write_field(const struct problem *problem, struct writer *w) {
  if (w->names == WRITER_CAMEL || problem->status == STATUS_UNKNOWN_FIELD) {
    writer_text(w, "field", problem->field);
    return;
  }
  char snake[2 * sizeof problem->field];
  size_t n = 0;
  for (const char *at = problem->field; *at; at++) {
    bool upper = *at >= 'A' && *at <= 'Z';
    if (upper)
      snake[n++] = '_';
    snake[n++] = (char)(upper ? *at | 0x20 : *at);
  }
  writer_text_n(w, "field", snake, n);
}

static void write_space(const struct problem_space *space, struct writer *w) {
  writer_uint(w, "requestedBytes", space->requested_bytes);
  writer_uint(w, "availableBytes", space->available_bytes);
  writer_uint(w, "largestFreeBytes", space->largest_free_bytes);
  writer_hundredths(w, "fragmentationPercent", space->fragmentation_hundredths);
  writer_array(w, "reclaimable");
  if (space->reclaimable_cache_bytes) {
    writer_object(w, NULL);
    writer_text(w, "kind", "cache");
    writer_null(w, "modelId");
    writer_uint(w, "bytes", space->reclaimable_cache_bytes);
    writer_end(w);
  }
  for (uint32_t i = 0; i < space->model_count; i++) {
    writer_object(w, NULL);
    writer_text(w, "kind", "model");
    writer_id(w, "modelId", 'm', space->models[i].model);
    writer_uint(w, "bytes", space->models[i].bytes);
    writer_end(w);
  }
  for (uint32_t i = 0; i < space->worker_count; i++) {
    writer_object(w, NULL);
    writer_text(w, "kind", "worker");
    writer_null(w, "modelId");
    writer_text(w, "workerId", space->workers[i].name);
    writer_uint(w, "bytes", space->workers[i].bytes);
    writer_end(w);
  }
  writer_end(w);
  if (*space->reason)
    writer_text(w, "reason", space->reason);
}

static unsigned retry_seconds(const struct problem *problem) {
  int code = status_http(problem->status);
  return code == 429 || code == 503 ? RETRY_SECONDS : 0;
}

static void write_details(const struct problem *problem, struct writer *w) {
  writer_object(w, "details");
  if (retry_seconds(problem))
    writer_uint(w, "retryAfterSeconds", retry_seconds(problem));
  if (*problem->subject)
    writer_text(w, subject_key(problem), problem->subject);
  if (*problem->field)
    write_field(problem, w);
  bool missing =
      problem->status == STATUS_DEVICE_NOT_FOUND || problem->status == STATUS_WORKER_NOT_FOUND;
  if (missing || *problem->allowed)
    writer_words(w, missing ? "available" : "allowed", problem->allowed);
  if (problem->has_space)
    write_space(&problem->space, w);
  writer_end(w);
}

static void write_error(const struct ops_call *call, const struct problem *problem,
                        struct writer *w) {
  writer_bool(w, "success", false);
  writer_null(w, "data");
  writer_null(w, "message");
  writer_object(w, "error");
  writer_text(w, "code", status_code(problem->status));
  writer_text(w, "message", *problem->text ? problem->text : status_text(problem->status));
  writer_int(w, "statusCode", status_http(problem->status));
  writer_text(w, "path", call->path);
  write_details(problem, w);
  writer_end(w);
  write_stamp(call, w);
}

static void write_wire_error(const struct problem *problem, struct writer *w) {
  writer_bool(w, "success", false);
  writer_text(w, "errorCode", status_code(problem->status));
  writer_text(w, "error", *problem->text ? problem->text : status_text(problem->status));
  write_details(problem, w);
}

enum ops_progress reply_fail(struct ops_call *call, const struct problem *problem) {
  struct writer w;
  reply_drop_shares(call);
  buf_reset(&call->out);
  call->http_status = status_http(problem->status);
  call->retry_after = retry_seconds(problem);
  writer_init(&w, &call->out, call->names);
  writer_object(&w, NULL);
  write_request_id(call, &w);
  if (call->http_envelope)
    write_error(call, problem, &w);
  else
    write_wire_error(problem, &w);
  writer_end(&w);
  return OPS_DONE;
}

bool reply_failed_job(struct ops_call *call, const struct job_view *view) {
  if (view->state == JOB_COMPLETED)
    return false;
  reply_fail(call, &view->problem);
  return true;
}
