/*
 * looking: a list and a timer that the first of them starts.
 */
#include "daemon/looking.h"

#define LOOKING_MS                                                                                 \
  1000 /* a worker that lives answers at once: it runs no other thing meanwhile                    \
        */

void looking_end(struct looking *looking) {
  struct mover_task *task = looking->first, *next;
  looking->first = NULL;
  if (looking->timer)
    loop_timer_stop(looking->timer);
  for (; task; task = next) {
    next = task->next;
    task->done(task);
  }
}

static void give_up(void *arg) { looking_end(arg); }

enum status looking_init(struct looking *looking, struct loop *loop) {
  looking->first = NULL;
  return loop_timer(loop, give_up, looking, &looking->timer);
}

void looking_done(struct looking *looking) { loop_timer_free(looking->timer); }

void looking_add(struct looking *looking, struct mover_task *task) {
  if (!looking->first)
    loop_timer_start(looking->timer, LOOKING_MS, 0);
  task->next = looking->first;
  looking->first = task;
}
