/*
 * worker: one worker process: its life (started, hello, ready, gone, restarted with back-off), the
 * requests that are under way with it, the segments that it has. Loop thread only.
 *
 *   starting -> ready <-> busy -> failed (waits for its next start) -> starting …, stopped at the
 * end
 */
#ifndef DAEMON_WORKER_H
#define DAEMON_WORKER_H

#include "base/loop.h"
#include "daemon/wire.h"
#include "service/mover.h"

struct worker;
struct events;

struct worker_params {
  struct loop *loop;
  struct events *events;
  const char *name;               /* "host" for our own, else what --worker calls it */
  const char *const *argv;        /* NULL-terminated; borrowed */
  const char *const *environment; /* borrowed */
  struct wire_initialize initialize;
  void (*changed)(void *arg); /* its state changed: it became ready, or its view did */
  void *arg;
};

enum status worker_create(const struct worker_params *params, struct worker **out);
/* The process must have ended (worker_stop). */
void worker_free(struct worker *worker);
void worker_start(struct worker *worker);
/* End of stdin, then after `grace_ms` SIGKILL. */
void worker_stop(struct worker *worker, uint64_t grace_ms);
bool worker_ended(const struct worker *worker);
/* SIGTERM, SIGKILL after 2 s, and a fresh start at once. */
void worker_restart(struct worker *worker);

const char *worker_name(const struct worker *worker);
bool worker_ready(const struct worker *worker);
/* Whether it is expected to be ready soon: starting, or failed and waiting for its restart. */
bool worker_coming(const struct worker *worker);
unsigned worker_load(const struct worker *worker);
bool worker_can(const struct worker *worker, const char *capability);
void worker_view(const struct worker *worker, struct view_worker *out);

/* Sends a task; false: not ready, or too much waits there already. task->done follows,
 * WORKER_UNAVAILABLE if it dies. For MOVER_CLEAR, done gets the sum in task->bytes. */
bool worker_submit(struct worker *worker, struct mover_task *task);
bool worker_cancel(struct worker *worker, uint64_t subject);
/* True: it has the segment and drop->done will be called. */
bool worker_drop(struct worker *worker, struct mover_drop *drop,
                 void (*done)(struct mover_drop *drop));
void worker_thresholds(struct worker *worker, const struct pressure_thresholds *thresholds);

#endif
