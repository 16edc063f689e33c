/*
 * request: a request is 17 KiB, most of it ops' params; its memory comes from malloc, which gives
 * what was just freed. Answers of other threads come through the loop, so the connection is only
 * ever touched on its own thread.
 */
#include "socket/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/loop.h"

#define OUT_CAP ((size_t)4 << 20)   /* of an answer: the longest line */
#define ID_BYTES 256                /* of a request_id */
#define ID_SPACE (6 * ID_BYTES + 2) /* the same as JSON: it must not fail when it is echoed */

/* The members of a line. */
struct words {
  struct reader_value request_id, action, data, key, correlation;
  uint64_t deadline_ms, fds;
  bool brief, detached, envelope;
};

static const struct reader_field fields[] = {
    {.name = "requestId", .type = READER_RAW, .offset = offsetof(struct words, request_id)},
    {.name = "action", .type = READER_RAW, .offset = offsetof(struct words, action)},
    {.name = "data", .type = READER_RAW, .offset = offsetof(struct words, data)},
    {.name = "deadlineMs", .type = READER_UINT, .offset = offsetof(struct words, deadline_ms)},
    {.name = "idempotencyKey", .type = READER_RAW, .offset = offsetof(struct words, key)},
    {.name = "correlationId", .type = READER_RAW, .offset = offsetof(struct words, correlation)},
    {.name = "fds", .type = READER_UINT, .offset = offsetof(struct words, fds)},
    {.name = "brief", .type = READER_BOOL, .offset = offsetof(struct words, brief)},
    {.name = "detached", .type = READER_BOOL, .offset = offsetof(struct words, detached)},
    {.name = "envelope", .type = READER_BOOL, .offset = offsetof(struct words, envelope)},
};
static const char *const ignored[] = {"event", NULL}; /* of workers that come by socket */
static const struct reader_table table = {fields, sizeof fields / sizeof *fields, READER_SNAKE,
                                          ignored};

struct request {
  struct task task; /* first: the loop's */
  struct request *next;
  struct request_params params;
  bool let_go, client_left;
  struct buf id;           /* raw JSON of request_id */
  char name[ID_BYTES + 1]; /* the same as text; "": there is none */
  struct buf action;       /* for error.path */
  struct ops_call call;
};

void request_free(struct request *request) {
  ops_end(&request->call);
  buf_done(&request->id);
  buf_done(&request->action);
  buf_done(&request->call.out);
  free(request);
}

static void tell(struct request *request) {
  const struct ops_call *call = &request->call;
  const struct request_answer answer = {call->out.data, call->out.size, call->shares,
                                        call->share_count};
  if (!request->let_go)
    request->params.answer(request->params.arg, request, &answer);
  else if (request->client_left && call->share_count)
    ops_connection_closed(call->ops, call->caller.connection);
}

static void answer(struct request *request) {
  tell(request);
  request_free(request);
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
  if (buf_reserve(&request->id, ID_SPACE))
    return request;
  request_free(request);
  return NULL;
}

/* In which form the answer is wanted and what it echoes: taken before anything may be refused. */
static enum status take_address(struct request *request, struct reader_value line,
                                struct problem *problem) {
  struct ops_call *call = &request->call;
  if (reader_bool(reader_get(line, "envelope"), false)) {
    call->http_envelope = true;
    call->names = WRITER_CAMEL;
  }
  struct reader_value id = reader_get(line, "request_id");
  if (!id.json)
    return STATUS_OK;
  const char *text = reader_text(id, NULL);
  if (!text || strlen(text) > ID_BYTES)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "request_id",
                         "request_id must be a string of at most %d bytes", ID_BYTES);
  snprintf(request->name, sizeof request->name, "%s", text);
  reader_dump(id, &request->id);
  call->request_id = buf_text(&request->id);
  return STATUS_OK;
}

static enum status take_caller(struct caller *caller, const struct words *words,
                               struct problem *problem) {
  const char *correlation = reader_text(words->correlation, NULL);
  const char *key = reader_text(words->key, NULL);
  if (words->correlation.json && !correlation)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "correlation_id",
                         "correlation_id must be a string");
  if (words->key.json && (!key || !id_is_token(key)))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "idempotency_key",
                         "idempotency_key is 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-'");
  if (correlation && id_is_token(correlation))
    snprintf(caller->correlation, sizeof caller->correlation, "%s", correlation);
  if (key)
    snprintf(caller->key, sizeof caller->key, "%s", key);
  if (words->detached) {
    caller->detached = true;
    caller->pid = 0;
    caller->pid_start = 0;
  }
  return STATUS_OK;
}

static enum status take_action(struct request *request, struct reader_value value,
                               struct problem *problem) {
  const char *action = reader_text(value, NULL);
  if (!value.json)
    return problem_field(problem, STATUS_MISSING_PARAMETER, "action",
                         "action is required: the name of an operation, as in memory.get_status");
  if (!action)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "action", "action must be a string");
  buf_add(&request->action, action, strlen(action));
  request->call.path = buf_text(&request->action);
  request->call.row = ops_by_action(action);
  if (!request->call.row || (request->call.row->streams && !request->params.follow))
    return problem_field(problem, STATUS_NOT_FOUND, "action", "there is no operation %.60s",
                         action);
  return STATUS_OK;
}

/* What costs nothing over HTTP costs nothing here. */
static enum status take_turn(const struct request *request, struct problem *problem) {
  const struct caller *caller = request->params.caller;
  if (caller->role == CALLER_ADMIN || request->call.row->role == CALLER_NONE ||
      rate_take(request->params.rate, caller->domain, clock_now()))
    return STATUS_OK;
  return problem_set(problem, STATUS_RATE_LIMITED, "more requests than rate_limit allows");
}

/* Not an operation: it is about another request of the same connection. */
static enum status cancel(struct request *request, struct reader_value data,
                          struct problem *problem) {
  const char *id = reader_text(reader_get(data, "request_id"), NULL);
  if (!id || !id[0])
    return problem_field(problem, STATUS_MISSING_PARAMETER, "request_id",
                         "request_id is required: the request that shall wait no longer");
  ops_cancel(&request->call, request->params.under_way(request->params.arg, id));
  return STATUS_OK;
}

static bool is_cancel(const struct request *request, struct reader_value action) {
  return request->params.under_way && !strcmp(reader_text(action, ""), "cancel");
}

/* What becomes of a request after its first run. */
enum outcome { OVER, LATER, FOLLOWS };

static enum outcome follow(struct request *request) {
  const struct request_params *params = &request->params;
  struct problem problem;
  if (!request->call.row->streams || request->call.http_status != 200)
    return OVER;
  if (!params->follow(params->arg, request, &problem))
    return FOLLOWS;
  ops_fail(&request->call, &problem);
  return OVER;
}

static enum outcome run(struct request *request, struct reader_value line) {
  struct problem problem;
  struct words words = {.fds = 0};
  enum status status = take_address(request, line, &problem);
  if (!status)
    status = reader_decode(line, &table, &words, NULL, &problem);
  if (!status)
    status = take_caller(&request->call.caller, &words, &problem);
  if (!status && is_cancel(request, words.action)) {
    status = cancel(request, words.data, &problem);
    if (!status)
      return OVER;
  }
  if (!status)
    status = take_action(request, words.action, &problem);
  if (!status)
    status = take_turn(request, &problem);
  request->call.brief = words.brief;
  if (!status)
    return ops_run_value(&request->call, words.data) == OPS_LATER ? LATER : follow(request);
  ops_fail(&request->call, &problem);
  return OVER;
}

/* Whether it is one at all. */
static enum outcome judge(struct request *request, struct reader_value line) {
  const struct request_params *params = &request->params;
  struct problem problem = {.status = STATUS_OK};
  if (!params->unasked || reader_get(line, "action").json ||
      !params->unasked(params->arg, line, &problem))
    return run(request, line);
  if (problem.status)
    ops_fail(&request->call, &problem);
  else
    request->let_go = true;
  return OVER;
}

/* With the descriptors that it announced; those that nobody wanted are closed as well. */
static enum outcome take(struct request *request, struct reader_value line) {
  const struct request_params *params = &request->params;
  struct share given[OPS_SHARES];
  uint64_t announced = reader_uint(reader_get(line, "fds"), 0);
  if (!params->take_shares(params->arg, announced, given)) {
    request->let_go = true;
    return OVER;
  }
  request->call.given = given;
  request->call.given_count = (unsigned)announced;
  enum outcome outcome = judge(request, line);
  while (announced)
    share_close(&given[--announced]);
  return outcome;
}

bool request_run(const struct request_params *params, const char *text, size_t n,
                 struct request **out) {
  struct request *request = make(params);
  struct reader_doc *doc = NULL;
  struct problem problem;
  *out = NULL;
  if (!request)
    return false;
  enum outcome outcome = OVER;
  if (reader_parse_line(params->number, text, n, &doc, &problem))
    ops_fail(&request->call, &problem);
  else
    outcome = take(request, reader_root(doc));
  reader_free(doc);
  if (outcome == LATER) {
    *out = request;
    return true;
  }
  tell(request);
  if (outcome == OVER)
    request_free(request);
  return true;
}

void request_refuse(const struct request_params *params, const struct problem *problem) {
  struct request *request = make(params);
  if (!request)
    return;
  ops_fail(&request->call, problem);
  answer(request);
}

void request_let_go(struct request *request, bool client_left) {
  request->let_go = true;
  request->client_left = client_left;
  if (ops_abandon(&request->call))
    request_free(request);
}

struct request **request_link(struct request *request) {
  return &request->next;
}

const struct ops_call *request_call(const struct request *request) { return &request->call; }

struct ops_call *request_find(struct request *first, const char *id) {
  while (first && strcmp(first->name, id) != 0)
    first = first->next;
  return first ? &first->call : NULL;
}
