/*
 * looking: those who wait for every worker to have said how it is. One that does not say so within
 * a second holds nobody up: its figures are not known then. Loop thread only.
 */
#ifndef DAEMON_LOOKING_H
#define DAEMON_LOOKING_H

#include "base/loop.h"
#include "service/mover.h"

struct looking {
  struct mover_task *first;
  struct loop_timer *timer;
};

enum status looking_init(struct looking *looking, struct loop *loop);
void looking_done(struct looking *looking);
/* Its `done` follows: when looking_end is called, or time is over. */
void looking_add(struct looking *looking, struct mover_task *task);
/* No question is under way any more. */
void looking_end(struct looking *looking);

#endif
