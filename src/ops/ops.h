/*
 * ops: THE table of operations. One row each: action name, HTTP method and path, role, fields,
 * handler. Both doors run rows; openapi.json, docs/api.md and the CLI's table are generated from
 * them. JSON <-> struct happens here, once, strictly; no I/O.
 *
 * A door fills a struct ops_call and calls ops_run. OPS_DONE: call->out holds the answer's body.
 * OPS_LATER: the call belongs to ops until call->done runs, once, on another thread; then call->out
 * holds the body. The thread that runs ops_run never waits and never calls a driver.
 *
 * Order of checks: syntax, fields, roles, devices then objects, state (409), space (507).
 */
#ifndef OPS_OPS_H
#define OPS_OPS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/problem.h"
#include "base/queue.h"
#include "base/reader.h"
#include "base/share.h"
#include "base/writer.h"
#include "service/caller.h"
#include "service/job.h"

struct ops;
struct service;
struct fragment;
struct latency;

enum ops_method { OPS_GET, OPS_POST, OPS_PUT, OPS_PATCH, OPS_DELETE, OPS_METHODS };
extern const char *const ops_methods[]; /* "GET" … */

enum ops_progress { OPS_DONE, OPS_LATER };

struct ops_call;
struct ops_row {
  const char *action; /* "memory.allocate"; NULL: HTTP only (health, openapi, events, metrics) */
  enum ops_method method;
  const char *path;      /* "/api/memory/status/{idDevice}"; NULL: socket only */
  const char *alias;     /* a second path, or NULL */
  enum caller_role role; /* least role */
  bool envelope;         /* false: the body is the document itself */
  const char *type;      /* of such a body where it is no JSON, or NULL */
  bool streams; /* events: OPS_DONE with status 200 means that all checks are passed and the door
                   streams what ops_event_wanted lets through; over HTTP `out` is empty then, over
                   the socket it is the answer that goes before them */
  bool starts;  /* starts a job: answers 202 with it while it runs */
  /* First path_count fields of the path in its order, then query_count of the query, the rest are
   * the body's. On the socket all are members of `data`. */
  const struct reader_field *fields;
  size_t field_count, path_count, query_count;
  size_t params_size;     /* how much of the params is zeroed before; <= OPS_PARAMS */
  const char *summary;    /* what it does; one sentence */
  const char *answer;     /* what a success means; one sentence, the `message` of the envelope */
  const char *schema;     /* of the answer (schema.c); NULL: no envelope, or a stream */
  const char *dry_schema; /* of the answer to a dry run; NULL: the same */
  const char *started_schema;     /* of a 202; NULL: "Job" */
  void (*defaults)(void *params); /* NULL: zeroes */
  /* Answers by reply.h, or makes the call wait by wait.h. May run again after a wait. */
  enum ops_progress (*handler)(struct ops_call *call, void *params);
};

#define OPS_PARAMS 16384
#define OPS_PATH_VALUES 2
#define OPS_SHARES 250 /* that an answer may carry: as many as a line */

/* What a door knows about one request. Zeroed up to `params`, then filled by the door. */
struct ops_call {
  struct ops *ops;
  const struct ops_row *row;
  struct caller caller;
  enum writer_names names; /* WRITER_CAMEL over HTTP and for clients that ask for it */
  bool http_envelope; /* HTTP, or a socket client that asked for it; else the wire's form (contract
                         5) */
  bool brief;         /* the caller said so: its answer holds what it cannot do without */
  const char *request_id; /* socket: the raw JSON of request_id to echo; NULL over HTTP */
  const char *path;       /* as sent, for error.path; over the socket the action */
  const char *path_values[OPS_PATH_VALUES]; /* decoded, in the order of {…} in row->path */
  const char *(*query)(void *door, const char *name); /* decoded value or NULL; HTTP only */
  /* Calls fn for each name until it says false; to find unknown ones. NULL: there is no query. */
  bool (*query_each)(void *door, bool (*fn)(void *arg, const char *name), void *arg);
  void *door;
  const struct share *given; /* came with the line; borrowed until the first run is over */
  unsigned given_count;
  struct buf out;                      /* made by the door with the cap it can bear */
  void (*done)(struct ops_call *call); /* after OPS_LATER only, any thread */

  /* results */
  int http_status;
  unsigned retry_after; /* seconds, 0: no header */
  unsigned share_count; /* of `shares`; only a caller with a connection gets any */

  /* ops' own */
  struct job *job;            /* what it waits for */
  _Atomic(struct job *) held; /* the same, until ops_end: what ops_abandon lets go */
  struct job *waited;         /* one that the request said it waits for, until ops_end */
  struct job_waiter waiter;
  struct task timeout;
  atomic_uint met; /* of the job's end and the timeout, how many have passed */
  bool limited, fresh, asked;
  uint64_t said; /* bit i: field i of the row was in the body, or in `data` */
  void (*encode)(struct ops_call *call, const struct job_view *view);
  uint64_t started_ns;
  _Alignas(16) char params[OPS_PARAMS];
  struct share shares[OPS_SHARES]; /* of the answer: sent with it, closed by ops_end */
};

enum status ops_create(struct service *service, struct ops **out);
void ops_free(struct ops *ops);
struct service *ops_service(const struct ops *ops);
struct fragment *ops_fragment(const struct ops *ops);
struct latency *ops_latency(const struct ops *ops);
/* The OpenAPI document, made once. */
const struct buf *ops_openapi(const struct ops *ops);

/* All rows, for generators and doors. */
const struct ops_row *const *ops_rows(size_t *count);
/* The row of an action; aliases included. NULL: none. Where a second row of that action has a
 * device in its path, ops_run_value goes over to it when `data` names one. */
const struct ops_row *ops_by_action(const char *action);

/* What a path means. `segments` are the path's parts, split at '/' before decoding and then decoded
 * (contract 1). */
struct ops_match {
  const struct ops_row *row; /* NULL: see status */
  enum status status;        /* NOT_FOUND, or METHOD_NOT_ALLOWED with `allow` */
  char allow[64];            /* "GET, POST" */
  const char *values[OPS_PATH_VALUES];
};
void ops_match(const char *method, char *const *segments, size_t count, struct ops_match *out);

/* Checks, decodes and runs; call->row is set. body may be NULL. */
enum ops_progress ops_run(struct ops_call *call, const char *body, size_t n);
/* The same with a document that is parsed already (socket: `data`). */
enum ops_progress ops_run_value(struct ops_call *call, struct reader_value data);
/* The client hung up while the call waits. True: it is over, `done` will not be called. False: it
 * goes on and `done` comes. The thread that ran it only. */
bool ops_abandon(struct ops_call *call);
/* Answers `call`, which wants that `other` waits no longer; NULL: there is none of that id. The
 * other one's own answer comes as ever, CANCELLED if that was in time. */
void ops_cancel(struct ops_call *call, struct ops_call *other);
/* The door has done with a call: after OPS_DONE, after `done`, or after an abandon that was true.
 * Closes the answer's shares. */
void ops_end(struct ops_call *call);
/* A connection is gone: what it has attached is detached. Any thread. */
void ops_connection_closed(struct ops *ops, uint64_t connection);
/* An error answer made by the door itself (404 of a path, 413 …). */
void ops_fail(struct ops_call *call, const struct problem *problem);
struct events_record;
/* Whether an event passes ?types= of a call on the row that streams. */
bool ops_event_wanted(const struct ops_call *call, const struct events_record *event);
/* Where such a call wants to begin: behind this event. False: with what is to come. */
bool ops_event_after(const struct ops_call *call, uint64_t *after);
/* One event as the JSON object of contract 8 on one line (without newline), appended. */
void ops_event(struct ops *ops, const struct events_record *event, enum writer_names names,
               struct buf *out);
/* The same for what a reader has missed: so many events, 0: nobody knows how many. */
void ops_event_lost(uint64_t lost, enum writer_names names, struct buf *out);

#endif
