/*
 * announce: descriptors that go to a worker process ahead of the line that names them: segments,
 * which it keeps until they are dropped, and files, which are one request's. Loop thread only.
 */
#ifndef DAEMON_ANNOUNCE_H
#define DAEMON_ANNOUNCE_H

#include <stdbool.h>

#include "daemon/segment_set.h"
#include "service/mover.h"

struct talk_carrier;

struct announce {
  struct segment_set segments; /* which it has */
  bool has_had;                /* any, ever */
  uint64_t process;            /* told apart from any other by this */
  uint64_t files;              /* that were announced: the next one's id */
};

/* One that no task names yet, to a worker that has or had others: it has a context then, which is
 * not made for this one's sake. What cannot be sent now is sent with a task. */
void announce_segment(struct announce *announce, const struct talk_carrier *carrier, void *ctx,
                      const struct mover_segment *segment);
/* All that the task's line will name and that is not there yet. False: not all of it now, and the
 * same task may be offered again. */
bool announce_task(struct announce *announce, const struct talk_carrier *carrier, void *ctx,
                   struct mover_task *task);

#endif
