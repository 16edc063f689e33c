/*
 * queue: a thread that runs tasks in order of arrival, and timed ones when their time has come. The
 * decision thread, the reaper and each device's owner thread are one of these.
 *
 * A task is embedded in what it is about; the queue never allocates. A task that is queued must not
 * be posted again (queue_post then does nothing and returns false) nor freed. Tasks may post (also
 * themselves, from their own run).
 */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct queue;

struct task {
  void (*run)(struct task *task); /* on the queue's thread; the queue holds no lock meanwhile */
  struct task *next;              /* the queue's */
  uint64_t due;                   /* the queue's: CLOCK_MONOTONIC ns, 0: at once */
  bool queued;                    /* the queue's */
};

/* Starts the thread; `name` is a literal of at most 15 characters, shown by top -H. */
enum status queue_create(const char *name, struct queue **out);
/* Runs what is queued untimed, drops timed tasks, ends the thread. Not from a task; NULL is fine.
 */
void queue_free(struct queue *queue);
bool queue_post(struct queue *queue, struct task *task);
/* At a time of clock_now(); earlier times run at once. Posting a timed task again moves it; one
 * that is queued untimed stays where it is. Costs a walk over the timed tasks that are due before:
 * for dozens of them, not thousands. */
void queue_post_at(struct queue *queue, struct task *task, uint64_t due);
/* True if the task was waiting and now will not run; false also while it runs. */
bool queue_cancel(struct queue *queue, struct task *task);
/* Whether the caller is on this queue's thread. */
bool queue_is_mine(const struct queue *queue);

#endif
