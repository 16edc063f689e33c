/*
 * talk: the conversation with one worker process, from its start to its end: what it is asked, what
 * it says, which segments it has. Loop thread only.
 */
#ifndef DAEMON_TALK_H
#define DAEMON_TALK_H

#include "base/loop.h"
#include "daemon/wire.h"
#include "service/mover.h"

struct talk;

#define TALK_CAPABILITIES 512

struct talk_params {
  struct loop *loop;
  const char *name;
  const char *const *argv, *const *environment; /* NULL-terminated; borrowed */
  const struct wire_initialize *initialize;     /* borrowed; may change */
  void (*changed)(void *arg);                   /* it became ready, or busy, or free again */
  void (*ended)(void *arg, const char *how);    /* the process is gone: talk_free it */
  /* It died before it had begun with this task: offer it again. */
  void (*unheard)(void *arg, struct mover_task *task);
  void *arg;
};

/* Starts the process. NOT_FOUND: there is no such program. */
enum status talk_start(const struct talk_params *params, struct talk **out);
/* Requests that are left fail: WORKER_TIMEOUT for one that was silent for too long, else
 * WORKER_UNAVAILABLE; drops are done. A process that still runs is killed. NULL is fine. */
void talk_free(struct talk *talk);
int32_t talk_pid(const struct talk *talk);
/* It said hello, and is not being ended. */
bool talk_ready(const struct talk *talk);
bool talk_busy(const struct talk *talk);
/* Comma separated; "" before hello. */
const char *talk_capabilities(const struct talk *talk);

struct talk_figures {
  uint64_t ready_ns;     /* clock_now() of its hello, 0: not yet */
  uint64_t contact_real; /* when it was last heard of */
  uint64_t memory_bytes, reclaimable_bytes;
};
const struct talk_figures *talk_figures(const struct talk *talk);

/* False: not ready, or too much waits there already. task->done follows. */
bool talk_submit(struct talk *talk, struct mover_task *task);
/* False: it has no such task. */
bool talk_cancel(struct talk *talk, uint64_t subject);
/* True: it has the segment, and done(drop) follows. */
bool talk_drop(struct talk *talk, struct mover_drop *drop, void (*done)(struct mover_drop *drop));
void talk_thresholds(struct talk *talk);

/* Once a second: deadlines, the ping. */
void talk_tick(struct talk *talk);
/* End of stdin: the polite request to exit. */
void talk_close(struct talk *talk);
/* SIGTERM, and SIGKILL 2 s later (by talk_tick). */
void talk_end(struct talk *talk);
void talk_kill(struct talk *talk);

#endif
