/*
 * queue: one lock, one condition, two lists. Untimed tasks wait in a line, where posting costs the
 * same however many there are. Timed ones wait in a list sorted by time: they are the few dozen
 * deadlines and ticks of the program, for which nothing cleverer pays. Of the two lists the thread
 * serves the one it did not serve last, so neither can starve the other.
 *
 * A task is known by `due`: 0 is in the line, everything else in the sorted list.
 */
#include "base/queue.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/lock.h"

struct queue {
  struct lock lock;
  pthread_cond_t wake;
  pthread_t thread;
  struct task *head, **tail; /* untimed */
  struct task *timed;
  bool served_timed;
  bool ending;
};

static void append(struct queue *queue, struct task *task) {
  task->next = NULL;
  *queue->tail = task;
  queue->tail = &task->next;
}

static void insert(struct queue *queue, struct task *task) {
  struct task **at = &queue->timed;
  while (*at && (*at)->due <= task->due)
    at = &(*at)->next;
  task->next = *at;
  *at = task;
}

static void unlink_task(struct queue *queue, struct task *task) {
  struct task **at = task->due ? &queue->timed : &queue->head;
  while (*at != task)
    at = &(*at)->next;
  *at = task->next;
  if (queue->tail == &task->next)
    queue->tail = at;
}

static struct task *pop(struct queue *queue, bool timed) {
  struct task *task = timed ? queue->timed : queue->head;
  unlink_task(queue, task);
  task->queued = false;
  queue->served_timed = timed;
  return task;
}

static void sleep_until(struct queue *queue, uint64_t due) {
  const struct timespec at = clock_timespec(due);
  pthread_cond_timedwait(&queue->wake, &queue->lock.mutex, &at);
}

/* Waits for the next task; NULL when it is time to end. */
static struct task *next_task(struct queue *queue) {
  for (;;) {
    bool due = queue->timed && !queue->ending && queue->timed->due <= clock_now();
    if (due && !(queue->head && queue->served_timed))
      return pop(queue, true);
    if (queue->head)
      return pop(queue, false);
    if (queue->ending)
      return NULL;
    if (queue->timed)
      sleep_until(queue, queue->timed->due);
    else
      pthread_cond_wait(&queue->wake, &queue->lock.mutex);
  }
}

static void *serve(void *arg) {
  struct queue *queue = arg;
  lock_take(&queue->lock);
  struct task *task;
  while ((task = next_task(queue))) {
    lock_give(&queue->lock);
    task->run(task);
    lock_take(&queue->lock);
  }
  while (queue->timed)
    pop(queue, true);
  lock_give(&queue->lock);
  return NULL;
}

/* Signals are for the loop's thread: the new one inherits a mask that blocks them all. */
static int start_thread(struct queue *queue) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&queue->thread, NULL, serve, queue);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error;
}

static void release(struct queue *queue) {
  pthread_cond_destroy(&queue->wake);
  lock_done(&queue->lock);
  free(queue);
}

enum status queue_create(const char *name, struct queue **out) {
  struct queue *queue = calloc(1, sizeof *queue);
  if (!queue)
    return STATUS_INTERNAL_ERROR;
  lock_init(&queue->lock, LOCK_RANK_POST, name);
  lock_cond_init(&queue->wake);
  queue->tail = &queue->head;
  if (start_thread(queue)) {
    release(queue);
    return STATUS_INTERNAL_ERROR;
  }
  pthread_setname_np(queue->thread, name);
  *out = queue;
  return STATUS_OK;
}

void queue_free(struct queue *queue) {
  if (!queue)
    return;
  lock_take(&queue->lock);
  queue->ending = true;
  pthread_cond_signal(&queue->wake);
  lock_give(&queue->lock);
  pthread_join(queue->thread, NULL);
  release(queue);
}

bool queue_post(struct queue *queue, struct task *task) {
  LOCK_SCOPE(&queue->lock);
  if (task->queued)
    return false;
  task->due = 0;
  task->queued = true;
  append(queue, task);
  pthread_cond_signal(&queue->wake);
  return true;
}

void queue_post_at(struct queue *queue, struct task *task, uint64_t due) {
  LOCK_SCOPE(&queue->lock);
  if (task->queued && !task->due)
    return;
  if (task->queued)
    unlink_task(queue, task);
  task->due = due ? due : 1;
  task->queued = true;
  insert(queue, task);
  if (queue->timed == task)
    pthread_cond_signal(&queue->wake);
}

bool queue_cancel(struct queue *queue, struct task *task) {
  LOCK_SCOPE(&queue->lock);
  if (!task->queued)
    return false;
  unlink_task(queue, task);
  task->queued = false;
  return true;
}

bool queue_is_mine(const struct queue *queue) {
  return pthread_equal(queue->thread, pthread_self());
}
