/*
 * talk: the conversation with one worker, from its first line to its end: what it is asked, what it
 * says, which segments it has. What carries the lines is somebody else's: a process of ours
 * (process.h), or a client of the socket (guests.h). Loop thread only.
 */
#ifndef DAEMON_TALK_H
#define DAEMON_TALK_H

#include "base/share.h"
#include "daemon/standing.h"
#include "daemon/wire.h"
#include "service/mover.h"

struct talk;

#define TALK_CAPABILITIES 512
#define TALK_PROTOCOL 1

/* What carries the lines, and how it is ended; `ctx` is what talk_carry was given. */
struct talk_carrier {
  /* One line. False: too much waits already, or its end is gone. */
  bool (*send)(void *ctx, const char *text, size_t n);
  /* A descriptor and the text that announces it; false: not now. NULL: none gets there. */
  bool (*share)(void *ctx, const char *text, size_t n, const struct share *share);
  int32_t (*pid)(void *ctx);  /* 0: unknown */
  void (*close)(void *ctx);   /* it is told nothing more, and should go */
  void (*end)(void *ctx);     /* it must go */
  void (*kill)(void *ctx);    /* it is gone */
  void (*release)(void *ctx); /* ctx is not needed any more */
};

struct talk_params {
  const char *name;
  const struct wire_initialize *initialize; /* borrowed; may change */
  /* Not ours to end: one that is silent for too long fails its requests and is not ready until it
   * is heard of again; and it is asked only what it said it can. */
  bool guest;
  void (*changed)(void *arg);                /* it became ready, or busy, or free again */
  void (*ended)(void *arg, const char *how); /* it is gone: talk_free it */
  /* It went before it had begun with this task: offer it again. */
  void (*unheard)(void *arg, struct mover_task *task);
  void *arg;
};

enum status talk_create(const struct talk_params *params, struct talk **out);
/* Before anything is said: what carries it. */
void talk_carry(struct talk *talk, const struct talk_carrier *carrier, void *ctx);
/* It said a line, as text or read already; neither frees the talk. */
void talk_line(struct talk *talk, char *text, size_t n);
void talk_heard(struct talk *talk, struct reader_value root);
/* What carried it is gone; `params.ended` runs. */
void talk_gone(struct talk *talk, const char *how);
/* Requests that are left fail: WORKER_TIMEOUT for one that was silent for too long, else
 * WORKER_UNAVAILABLE; drops are done. A process that still runs is killed. NULL is fine. */
void talk_free(struct talk *talk);
int32_t talk_pid(const struct talk *talk);
/* It said hello, is not being ended, and not given up for its silence. */
bool talk_ready(const struct talk *talk);
bool talk_busy(const struct talk *talk);
/* Comma separated; "" before hello. */
const char *talk_capabilities(const struct talk *talk);

struct talk_figures {
  uint64_t ready_ns;     /* clock_now() of its hello, 0: not yet */
  uint64_t contact_real; /* when it was last heard of */
  bool spent; /* a task of its failed with DEVICE_UNAVAILABLE: a card that was lost in a process
                 does not come back in that process */
};
const struct talk_figures *talk_figures(const struct talk *talk);
const struct standing *talk_standing(const struct talk *talk);
/* It can be asked how it is. */
bool talk_reports(const struct talk *talk);
/* Asks that, unless it was said just now. */
void talk_look(struct talk *talk);

/* False: not ready, too much waits there already, or it takes no segments. task->done follows. */
bool talk_submit(struct talk *talk, struct mover_task *task);
/* All tasks of that subject. False: it has none. */
bool talk_cancel(struct talk *talk, uint64_t subject);
/* True: it has the segment, and done(drop) follows. */
bool talk_drop(struct talk *talk, struct mover_drop *drop, void (*done)(struct mover_drop *drop));
/* It may have the segment ahead of a task. */
void talk_offer(struct talk *talk, const struct mover_segment *segment);
/* Told, not asked; lost where it is not ready, or too much waits there. */
void talk_tell(struct talk *talk, const struct buf *line);

/* Once a second: deadlines, the ping. */
void talk_tick(struct talk *talk);
/* End of its input: the polite request to go, and talk_kill 2 s later (by talk_tick). */
void talk_close(struct talk *talk);
/* The order to go, and talk_kill 2 s later (by talk_tick). */
void talk_end(struct talk *talk);
void talk_kill(struct talk *talk);

#endif
