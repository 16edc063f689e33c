/*
 * request: a request is 17 KiB, most of it ops' params; its memory comes from malloc, which gives
 * what was just freed. Answers of other threads come through the loop, so the connection is only
 * ever touched on its own thread.
 */
#include "socket/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/loop.h"

#define OUT_CAP ((size_t)4 << 20) /* of an answer: the longest line */

struct request {
  struct task task; /* first: the loop's */
  struct request *next;
  struct request_params params;
  bool let_go;
  struct buf id;     /* raw JSON of request_id */
  struct buf action; /* for error.path */
  struct ops_call call;
};

static void free_request(struct request *request) {
  ops_end(&request->call);
  buf_done(&request->id);
  buf_done(&request->action);
  buf_done(&request->call.out);
  free(request);
}

static void answer(struct request *request) {
  struct buf *out = &request->call.out;
  if (!request->let_go)
    request->params.answer(request->params.arg, request, out->data, out->size);
  free_request(request);
}

static void answered_elsewhere(struct task *task) { answer((struct request *)task); }

/* Any thread. */
static void on_done(struct ops_call *call) {
  struct request *request = (struct request *)((char *)call - offsetof(struct request, call));
  loop_post(request->params.loop, &request->task);
}

static struct request *make(const struct request_params *params) {
  struct request *request = malloc(sizeof *request);
  if (!request)
    return NULL;
  memset(request, 0, offsetof(struct request, call) + offsetof(struct ops_call, params));
  request->task.run = answered_elsewhere;
  request->params = *params;
  buf_init(&request->id, OUT_CAP);
  buf_init(&request->action, OUT_CAP);
  buf_init(&request->call.out, OUT_CAP);
  request->call.ops = params->ops;
  request->call.caller = *params->caller;
  request->call.names = WRITER_SNAKE;
  request->call.done = on_done;
  request->call.path = "";
  id_correlation(request->call.caller.correlation);
  return request;
}

/* What stands beside `data`: whose it is, and in which form it wants the answer. */
static enum status take_words(struct request *request, struct reader_value line,
                              struct problem *problem) {
  struct ops_call *call = &request->call;
  const char *correlation = reader_text(reader_get(line, "correlation_id"), "");
  const char *key = reader_text(reader_get(line, "idempotency_key"), NULL);
  if (id_is_token(correlation))
    snprintf(call->caller.correlation, sizeof call->caller.correlation, "%s", correlation);
  if (key && !id_is_token(key))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "idempotency_key",
                         "idempotency_key is 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-'");
  if (key)
    snprintf(call->caller.key, sizeof call->caller.key, "%s", key);
  if (reader_bool(reader_get(line, "detached"), false))
    call->caller.pid = 0;
  if (reader_bool(reader_get(line, "envelope"), false)) {
    call->http_envelope = true;
    call->names = WRITER_CAMEL;
  }
  return STATUS_OK;
}

static enum status take_action(struct request *request, struct reader_value line,
                               struct problem *problem) {
  const char *action = reader_text(reader_get(line, "action"), NULL);
  if (!action)
    return problem_field(problem, STATUS_MISSING_PARAMETER, "action",
                         "action is required: the name of an operation, as in memory.get_status");
  buf_add(&request->action, action, strlen(action));
  request->call.path = buf_text(&request->action);
  request->call.row = ops_by_action(action);
  if (!request->call.row || request->call.row->streams)
    return problem_field(problem, STATUS_NOT_FOUND, "action", "there is no operation %.60s",
                         action);
  return STATUS_OK;
}

static void take_id(struct request *request, struct reader_value line) {
  struct reader_value id = reader_get(line, "request_id");
  if (!id.json)
    return;
  reader_dump(id, &request->id);
  request->call.request_id = buf_text(&request->id);
}

/* False: it was answered. */
static bool run(struct request *request, struct reader_value line) {
  struct problem problem;
  take_id(request, line);
  enum status status = take_words(request, line, &problem);
  if (!status)
    status = take_action(request, line, &problem);
  if (!status)
    return ops_run_value(&request->call, reader_get(line, "data")) == OPS_LATER;
  ops_fail(&request->call, &problem);
  return false;
}

struct request *request_run(const struct request_params *params, const char *text, size_t n) {
  struct request *request = make(params);
  struct reader_doc *doc = NULL;
  struct problem problem;
  if (!request)
    return NULL;
  enum status status = n ? reader_parse(text, n, &doc, &problem)
                         : problem_set(&problem, STATUS_INVALID_JSON, "an empty line");
  bool later = false;
  if (status) {
    ops_fail(&request->call, &problem);
  } else if (params->take_shares(params->arg,
                                 reader_uint(reader_get(reader_root(doc), "fds"), 0))) {
    later = run(request, reader_root(doc));
  } else {
    request->let_go = true;
  }
  reader_free(doc);
  if (later)
    return request;
  answer(request);
  return NULL;
}

void request_let_go(struct request *request) {
  request->let_go = true;
  if (ops_abandon(&request->call))
    free_request(request);
}

struct request **request_link(struct request *request) {
  return &request->next;
}
