/*
 * requests: what was asked of one worker process and is not answered yet. Loop thread only.
 */
#ifndef DAEMON_REQUESTS_H
#define DAEMON_REQUESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "service/mover.h"

#define REQUESTS_MAX 256 /* contract 5 */

enum requests_kind {
  REQUESTS_TASK, /* moves bytes, tells progress */
  REQUESTS_DROP, /* a segment is unmapped */
  REQUESTS_QUICK /* a question, a ping: any worker that lives answers at once */
};

struct request {
  uint64_t number, heard_ns;
  enum requests_kind kind;
  /* Of getting rid of it: 0 waiting, 1 cancelled, 2 its process is being ended, 3 killed, 4 nobody
   * waits for it any longer. */
  unsigned step;
  bool status; /* a question how it is */
  bool begun;  /* the worker said something about it */
  struct mover_task *task;
  struct mover_drop *drop;
  void (*dropped)(struct mover_drop *drop);
  struct request *next;
};

struct requests {
  struct request *first;
  unsigned count, tasks;
  uint64_t last; /* number given out */
};

/* A new one, numbered; NULL: too many, or no memory. A drop gives memory back: it is never too
 * many. */
struct request *requests_add(struct requests *requests, enum requests_kind kind);
/* Takes it out and frees it; the task and the drop stay the caller's. */
void requests_remove(struct requests *requests, struct request *request);
/* NULL: nobody asked that. */
struct request *requests_find(const struct requests *requests, uint64_t number);
/* The step that its silence calls for at this time. */
unsigned requests_step(const struct request *request, uint64_t now);

#endif
