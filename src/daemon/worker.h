/*
 * worker: a worker's life over all its processes: started, ready, gone, started again with
 * back-off, stopped. What is said to the process of the moment is talk's. Loop thread only.
 *
 *   starting -> ready <-> busy -> failed (waits for its next start) -> starting …, at the end
 * stopped
 *
 * One that rests is stopped from the beginning: it is started when it is wanted, and ends when it
 * has had no task for a while, or has lost its device.
 */
#ifndef DAEMON_WORKER_H
#define DAEMON_WORKER_H

#include "base/loop.h"
#include "daemon/wire.h"
#include "service/mover.h"

struct worker;
struct views;
struct events;

struct worker_params {
  struct loop *loop;
  struct events *events;
  const char *name;                         /* what --worker calls it; WORKERS_OWN for our own */
  const char *const *argv;                  /* NULL-terminated; borrowed */
  const char *const *environment;           /* borrowed */
  const struct wire_initialize *initialize; /* borrowed; may change */
  bool rests;
  uint64_t idle_ns;           /* `rests`: how long it outlives its last task, to within a second */
  void (*changed)(void *arg); /* its view did */
  /* It died before it had begun with this task, which is the caller's again. */
  void (*unheard)(void *arg, struct mover_task *task);
  void *arg;
};

enum status worker_create(const struct worker_params *params, struct worker **out);
/* The process must have ended (worker_stop). */
void worker_free(struct worker *worker);
/* Nothing happens to one that rests. */
void worker_start(struct worker *worker);
/* There is a task for it: one that rests is started. */
void worker_want(struct worker *worker);
/* End of stdin, then after `grace_ms` SIGKILL. */
void worker_stop(struct worker *worker, uint64_t grace_ms);
bool worker_ended(const struct worker *worker);
const char *worker_name(const struct worker *worker);
/* It is one that comes and goes, and so holds nothing that only it has. */
bool worker_rests(const struct worker *worker);
/* SIGTERM, SIGKILL after 2 s, and a fresh start at once. */
void worker_restart(struct worker *worker);

bool worker_ready(const struct worker *worker);
/* Whether it is expected to be ready soon: starting, or failed and waiting for its restart. One
 * that rests is not. */
bool worker_coming(const struct worker *worker);
bool worker_can(const struct worker *worker, const char *capability);
/* Adds itself. */
void worker_view(const struct worker *worker, struct views *views);
/* talk_look's. */
void worker_look(struct worker *worker);
/* It is being asked how it is. */
bool worker_looks(const struct worker *worker);

/* Sends a task; false: not ready, or too much waits there already. task->done follows, or
 * `unheard`. */
bool worker_submit(struct worker *worker, struct mover_task *task);
bool worker_cancel(struct worker *worker, uint64_t subject);
/* True: it has the segment and done(drop) will be called. */
bool worker_drop(struct worker *worker, struct mover_drop *drop,
                 void (*done)(struct mover_drop *drop));
/* A segment of its card, if it has or had others of it. */
void worker_offer(struct worker *worker, const struct mover_segment *segment);
void worker_tell(struct worker *worker, const struct buf *line);

#endif
