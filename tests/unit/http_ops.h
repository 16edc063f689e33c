/*
 * http_ops: a fake ops, for a test of the door alone. Include it once: it defines what ops.h
 * declares, in place of the real room.
 *
 *   GET /api/memory/status   200, 600 bytes; /health the same without a role
 *   GET /thing/{id}          200, the id
 *   POST /echo               200, the body
 *   POST /now                answered by `done` before ops_run returns
 *   POST /later              waits for http_ops_finish
 *   POST /memory             the same, until its client hangs up
 *   GET /api/memory/events   streams
 *
 * And a door before it, with a client.
 */
#ifndef HTTP_OPS_H
#define HTTP_OPS_H

#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "http/http.h"
#include "http_fixture.h"
#include "ops/ops.h"
#include "service/events.h"
#include "service/service.h"

struct ops {
  struct events *events;
  sem_t arrived; /* a call waits */
  struct lock lock;
  struct ops_call *waiting[64];
  unsigned count;
  sem_t abandoned; /* a call that could be was */
};

bool ops_abandon(struct ops_call *call) {
  if (!atomic_load(&call->held))
    return false;
  sem_post(&call->ops->abandoned);
  return true;
}

void ops_end(struct ops_call *call) { (void)call; }

const char *const ops_methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", NULL};

static const struct ops_row http_ops_rows[] = {
    {.method = OPS_GET, .path = "/api/memory/status", .role = CALLER_READ},
    {.method = OPS_GET, .path = "/health", .role = CALLER_NONE},
    {.method = OPS_GET, .path = "/thing/{id}", .role = CALLER_READ},
    {.method = OPS_POST, .path = "/echo", .role = CALLER_WRITE},
    {.method = OPS_POST, .path = "/now", .role = CALLER_WRITE},
    {.method = OPS_POST, .path = "/later", .role = CALLER_WRITE},
    {.method = OPS_POST, .path = "/memory", .role = CALLER_WRITE},
    {.method = OPS_GET, .path = "/api/memory/events", .role = CALLER_READ, .streams = true},
};

static bool http_ops_follows(const char *path, char *const *segments, size_t count,
                             const char **value) {
  for (size_t i = 0; i < count; i++) {
    if (*path++ != '/')
      return false;
    size_t n = strcspn(path, "/");
    if (*path == '{')
      *value = segments[i];
    else if (strlen(segments[i]) != n || strncmp(segments[i], path, n) != 0)
      return false;
    path += n;
  }
  return !*path;
}

void ops_match(const char *method, char *const *segments, size_t count, struct ops_match *out) {
  *out = (struct ops_match){.status = STATUS_NOT_FOUND};
  for (size_t i = 0; i < sizeof http_ops_rows / sizeof *http_ops_rows && !out->row; i++) {
    const struct ops_row *row = &http_ops_rows[i];
    if (!http_ops_follows(row->path, segments, count, &out->values[0]))
      continue;
    bool same = strcmp(ops_methods[row->method], method) == 0;
    out->row = same ? row : NULL;
    out->status = same ? STATUS_OK : STATUS_METHOD_NOT_ALLOWED;
    strcpy(out->allow, ops_methods[row->method]);
  }
}

static void http_ops_say(struct ops_call *call, const char *text, size_t n) {
  call->http_status = 200;
  buf_add(&call->out, text, n);
}

static enum ops_progress http_ops_wait(struct ops_call *call) {
  struct ops *ops = call->ops;
  lock_take(&ops->lock);
  ops->waiting[ops->count++] = call;
  lock_give(&ops->lock);
  sem_post(&ops->arrived);
  return OPS_LATER;
}

enum ops_progress ops_run(struct ops_call *call, const char *body, size_t n) {
  static const char status[600] = {[0 ... 599] = 's'};
  const char *path = call->row->path;
  if (call->caller.role < call->row->role) {
    ops_fail(call, &(struct problem){.status = STATUS_FORBIDDEN});
  } else if (strcmp(path, "/later") == 0) {
    return http_ops_wait(call);
  } else if (strcmp(path, "/memory") == 0) {
    atomic_store(&call->held, (struct job *)call); /* looked at by nobody */
    sem_post(&call->ops->arrived);
    return OPS_LATER;
  } else if (strcmp(path, "/now") == 0) {
    http_ops_say(call, "now", 3);
    call->done(call);
    return OPS_LATER;
  } else if (strcmp(path, "/echo") == 0) {
    http_ops_say(call, body, n);
  } else if (strcmp(path, "/thing/{id}") == 0) {
    const char *more = call->query ? call->query(call->door, "more") : NULL;
    buf_print(&call->out, "%s %s %s %s", call->path, call->path_values[0], more ? more : "-",
              *call->caller.key ? call->caller.key : "-");
    call->http_status = 200;
  } else if (!call->row->streams) {
    http_ops_say(call, status, sizeof status);
  }
  return OPS_DONE;
}

void ops_fail(struct ops_call *call, const struct problem *problem) {
  buf_reset(&call->out);
  call->http_status = status_http(problem->status);
  call->retry_after = call->http_status == 429 ? 1 : 0;
  buf_print(&call->out, "%s %s %s", status_code(problem->status), call->path, problem->text);
}

/* Answers the calls that wait, `done` from here; how many. */
static inline unsigned http_ops_finish(struct ops *ops) {
  struct ops_call *calls[64];
  lock_take(&ops->lock);
  unsigned count = ops->count;
  memcpy(calls, ops->waiting, sizeof calls);
  ops->count = 0;
  lock_give(&ops->lock);
  for (unsigned i = 0; i < count; i++) {
    http_ops_say(calls[i], "later", 5);
    calls[i]->done(calls[i]);
  }
  return count;
}

/* What a call wants is every event but device.changed. */
bool ops_event_wanted(const struct ops_call *call, const struct events_record *event) {
  (void)call;
  return event->type != EVENTS_DEVICE_CHANGED;
}

void ops_event(struct ops *ops, const struct events_record *event, enum writer_names names,
               struct buf *out) {
  (void)ops, (void)names;
  buf_print(out, "{\"subject\":%llu}", (unsigned long long)event->subject);
}

bool ops_event_after(const struct ops_call *call, uint64_t *after) {
  (void)call, (void)after;
  return false;
}

void ops_event_lost(uint64_t lost, enum writer_names names, struct buf *out) {
  (void)names;
  if (lost)
    buf_print(out, "{\"lostEvents\":%llu}", (unsigned long long)lost);
  else
    buf_print(out, "{\"lostEvents\":null}");
}

struct service *ops_service(const struct ops *ops) {
  return (struct service *)ops;
}

struct events *service_events(struct service *service) {
  return ((struct ops *)service)->events;
}

/* ---- a door ---- */

struct door {
  struct ops ops;
  struct http *http;
  uint16_t port;
  struct http_client *client;
  struct http_answer answer;
};

static inline struct door *open_door(const struct http_limits *limits,
                                     const struct http_token *token) {
  struct door *door = calloc(1, sizeof *door);
  struct problem problem;
  assert_non_null(door);
  assert_int_equal(events_create(&door->ops.events), STATUS_OK);
  sem_init(&door->ops.arrived, 0, 0);
  sem_init(&door->ops.abandoned, 0, 0);
  lock_init(&door->ops.lock, LOCK_RANK_LEAF, "fake ops");
  static const char *const hosts[] = {"memkeep.example"};
  const struct http_params params = {.ops = &door->ops,
                                     .address = "127.0.0.1",
                                     .tokens = token,
                                     .token_count = token ? 1 : 0,
                                     .hosts = hosts,
                                     .host_count = 1,
                                     .limits = limits ? *limits : (struct http_limits){0}};
  assert_int_equal(http_create(&params, &door->http, &problem), STATUS_OK);
  assert_int_equal(http_start(door->http), STATUS_OK);
  door->port = http_port(door->http);
  door->client = http_fixture_connect(door->port);
  return door;
}

static inline void close_door(struct door *door) {
  http_fixture_close(door->client);
  http_free(door->http);
  http_ops_finish(&door->ops);
  events_free(door->ops.events);
  lock_done(&door->ops.lock);
  free(door);
}

static inline void hear(struct door *door, int status) {
  http_fixture_hear(door->client, &door->answer);
  if (door->answer.status != status)
    print_message("%s%s\n", door->answer.head, door->answer.body);
  assert_int_equal(door->answer.status, status);
}

#define SAY(door, ...) assert_true(http_fixture_say((door)->client, __VA_ARGS__))

#endif
