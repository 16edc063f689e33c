/*
 * ops: from a request to its handler. The order of checks is that of contract 8: syntax and fields
 * (decode), the role, and then the operation's own. Only strangers are turned away before anything
 * of theirs is read.
 */
#include "ops/ops.h"

#include <stdlib.h>

#include "base/clock.h"
#include "ops/decode.h"
#include "ops/fragment.h"
#include "ops/latency.h"
#include "ops/op.h"
#include "ops/openapi.h"
#include "ops/reply.h"
#include "ops/table.h"
#include "service/attach.h"

#define OPENAPI_CAP ((size_t)1 << 20) /* the document has some 100 KiB */

const char *const ops_methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", NULL};

struct ops {
  struct service *service;
  struct buf openapi;
  struct fragment *fragment;
  struct latency *latency;
};

enum status ops_create(struct service *service, struct ops **out) {
  struct ops *ops = calloc(1, sizeof *ops);
  if (!ops)
    return STATUS_INTERNAL_ERROR;
  ops->service = service;
  buf_init(&ops->openapi, OPENAPI_CAP);
  openapi_write(&ops->openapi);
  ops->fragment = fragment_create();
  if (ops->openapi.failed || !ops->fragment || latency_create(&ops->latency)) {
    ops_free(ops);
    return STATUS_INTERNAL_ERROR;
  }
  *out = ops;
  return STATUS_OK;
}

void ops_free(struct ops *ops) {
  if (!ops)
    return;
  fragment_free(ops->fragment);
  latency_free(ops->latency);
  buf_done(&ops->openapi);
  free(ops);
}

struct service *ops_service(const struct ops *ops) {
  return ops->service;
}

struct fragment *ops_fragment(const struct ops *ops) {
  return ops->fragment;
}

struct latency *ops_latency(const struct ops *ops) {
  return ops->latency;
}

const struct buf *ops_openapi(const struct ops *ops) { return &ops->openapi; }

const struct ops_row *const *ops_rows(size_t *count) { return table_rows(count); }

const struct ops_row *ops_by_action(const char *action) { return table_by_action(action); }

void ops_match(const char *method, char *const *segments, size_t count, struct ops_match *out) {
  table_match(method, segments, count, out);
}

static enum status check_stranger(const struct ops_call *call, struct problem *problem) {
  if (call->caller.role != CALLER_NONE || call->row->role == CALLER_NONE)
    return STATUS_OK;
  return problem_set(problem, STATUS_UNAUTHORIZED,
                     "no valid credentials: send a bearer token, or use the Unix socket");
}

static enum status check_role(const struct ops_call *call, struct problem *problem) {
  static const char *const roles[] = {"none", "read", "write", "admin"};
  if (call->caller.role >= call->row->role)
    return STATUS_OK;
  return problem_set(problem, STATUS_FORBIDDEN, "this needs the role %s, yours is %s",
                     roles[call->row->role], roles[call->caller.role]);
}

enum ops_progress ops_run(struct ops_call *call, const char *body, size_t n) {
  struct problem problem;
  struct decode_body source = {body, n, NULL};
  call->started_ns = clock_now();
  enum status status = check_stranger(call, &problem);
  if (!status)
    status = decode_http(call, &source, &problem);
  if (!status)
    status = check_role(call, &problem);
  enum ops_progress progress =
      status ? reply_fail(call, &problem) : call->row->handler(call, call->params);
  if (source.doc)
    reader_free(source.doc);
  if (progress == OPS_DONE)
    latency_count(call);
  return progress;
}

enum ops_progress ops_run_value(struct ops_call *call, struct reader_value data) {
  struct problem problem;
  call->started_ns = clock_now();
  call->row = table_variant(call->row, data, call->names);
  enum status status = check_stranger(call, &problem);
  if (!status)
    status = decode_wire(call, data, &problem);
  if (!status)
    status = check_role(call, &problem);
  enum ops_progress progress =
      status ? reply_fail(call, &problem) : call->row->handler(call, call->params);
  if (progress == OPS_DONE)
    latency_count(call);
  return progress;
}

bool ops_abandon(struct ops_call *call) {
  struct job *job = atomic_load(&call->held);
  if (!job || !job_abandon(job, &call->waiter))
    return false;
  job_give(call->job);
  call->job = NULL;
  return true;
}

/* What a call waits for, if that may be cancelled. */
static struct job *waited_for(const struct ops_call *call) {
  struct job *job = atomic_load(&call->held);
  return job ? job : call->waited;
}

void ops_cancel(struct ops_call *call, struct ops_call *other) {
  static const struct ops_row row = {.action = "cancel", .answer = "Cancelled", .envelope = true};
  struct job *job = other ? waited_for(other) : NULL;
  call->row = &row;
  struct problem problem;
  struct writer w;
  if (!other)
    problem_set(&problem, STATUS_NOT_FOUND, "no request of that id is under way here");
  else if (!job)
    problem_set(&problem, STATUS_CONFLICT, "it waits for nothing that can be cancelled");
  if (!job || job_cancel(job, &call->caller, &problem)) {
    reply_fail(call, &problem);
    return;
  }
  reply_begin(call, &w);
  writer_bool(&w, "cancelled", true);
  (void)reply_end(call, &w);
}

void ops_end(struct ops_call *call) {
  struct job *job = atomic_exchange(&call->held, NULL);
  if (job)
    job_give(job);
  if (call->waited)
    job_give(call->waited);
  call->waited = NULL;
  reply_drop_shares(call);
}

void ops_connection_closed(struct ops *ops, uint64_t connection) {
  attach_connection_closed(ops->service, connection);
}

void ops_fail(struct ops_call *call, const struct problem *problem) { reply_fail(call, problem); }

bool ops_event_wanted(const struct ops_call *call, const struct events_record *event) {
  return op_events_wanted(call->params, event);
}

bool ops_event_after(const struct ops_call *call, uint64_t *after) {
  return op_events_after(call->params, after);
}

void ops_event_lost(uint64_t lost, enum writer_names names, struct buf *out) {
  struct writer w;
  writer_init(&w, out, names);
  op_events_write_lost(lost, &w);
}

void ops_event(struct ops *ops, const struct events_record *event, enum writer_names names,
               struct buf *out) {
  struct writer w;
  writer_init(&w, out, names);
  op_events_write(ops->service, event, &w);
}
