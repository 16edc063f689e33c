/*
 * loop: a thin coat over libuv. A handle of libuv is closed in two steps, the second one a turn of
 * the loop later; so what holds it is freed by the callback of the second step, and its `data` says
 * what that is (NULL for what lies inside struct loop).
 *
 * Tasks of other threads wait in a list under a lock; an async handle wakes the loop. A turn runs
 * what the list held when the turn began: tasks that post tasks do not keep the loop from its
 * descriptors.
 */
#include "base/loop.h"

#include <stdlib.h>
#include <uv.h>

#include "base/lock.h"

#define LOOP_SIGNALS 8

struct loop_signal_handle {
  uv_signal_t uv;
  loop_signal_fn *fn;
  void *arg;
};

struct loop {
  uv_loop_t uv;
  uv_async_t wake;
  struct lock lock; /* of what follows, up to the signals */
  struct task *head, **tail;
  bool stopping;
  struct loop_signal_handle signals[LOOP_SIGNALS];
  unsigned signal_count;
};

struct loop_watch {
  uv_poll_t uv;
  loop_watch_fn *fn;
  void *arg;
  int events;
};

struct loop_timer {
  uv_timer_t uv;
  loop_timer_fn *fn;
  void *arg;
};

static void closed(uv_handle_t *handle) { free(handle->data); }

static void close_handle(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle))
    uv_close(handle, closed);
}

/* All tasks, and whether the loop was to stop behind them: what is posted before a stop is never in
 * a later list than the stop. */
static struct task *take_tasks(struct loop *loop, bool *stop) {
  LOCK_SCOPE(&loop->lock);
  struct task *tasks = loop->head;
  *stop = loop->stopping;
  loop->stopping = false;
  loop->head = NULL;
  loop->tail = &loop->head;
  return tasks;
}

static void release_task(struct loop *loop, struct task *task) {
  LOCK_SCOPE(&loop->lock);
  task->queued = false;
}

static void woken(uv_async_t *wake) {
  struct loop *loop = (struct loop *)wake->loop->data;
  bool stop;
  for (struct task *task = take_tasks(loop, &stop), *next; task; task = next) {
    next = task->next;
    release_task(loop, task);
    task->run(task);
  }
  if (stop)
    uv_stop(&loop->uv);
}

enum status loop_create(struct loop **out) {
  struct loop *loop = calloc(1, sizeof *loop);
  if (!loop)
    return STATUS_INTERNAL_ERROR;
  if (uv_loop_init(&loop->uv)) {
    free(loop);
    return STATUS_INTERNAL_ERROR;
  }
  loop->uv.data = loop;
  loop->tail = &loop->head;
  lock_init(&loop->lock, LOCK_RANK_QUEUE, "loop");
  if (uv_async_init(&loop->uv, &loop->wake, woken)) {
    loop_free(loop);
    return STATUS_INTERNAL_ERROR;
  }
  *out = loop;
  return STATUS_OK;
}

void loop_run(struct loop *loop) { uv_run(&loop->uv, UV_RUN_DEFAULT); }

void loop_stop(struct loop *loop) {
  lock_take(&loop->lock);
  loop->stopping = true;
  lock_give(&loop->lock);
  uv_async_send(&loop->wake);
}

void loop_drop(struct loop *loop) {
  bool stop;
  for (struct task *task = take_tasks(loop, &stop); task; task = task->next)
    task->queued = false;
}

void loop_free(struct loop *loop) {
  if (!loop)
    return;
  uv_walk(&loop->uv, close_handle, NULL);
  uv_run(&loop->uv, UV_RUN_DEFAULT);
  uv_loop_close(&loop->uv);
  loop_drop(loop);
  lock_done(&loop->lock);
  free(loop);
}

bool loop_post(struct loop *loop, struct task *task) {
  lock_take(&loop->lock);
  bool posted = !task->queued;
  if (posted) {
    task->queued = true;
    task->next = NULL;
    *loop->tail = task;
    loop->tail = &task->next;
  }
  lock_give(&loop->lock);
  if (posted)
    uv_async_send(&loop->wake);
  return posted;
}

static void ready(uv_poll_t *uv, int status, int events);

static void start_watch(struct loop_watch *watch) {
  int events = (watch->events & LOOP_READ ? UV_READABLE : 0) |
               (watch->events & LOOP_WRITE ? UV_WRITABLE : 0) |
               (watch->events & LOOP_URGENT ? UV_PRIORITIZED : 0);
  if (events)
    uv_poll_start(&watch->uv, events, ready);
  else
    uv_poll_stop(&watch->uv);
}

/* An error (status) makes libuv stop the watch. It goes on here: whoever reads or writes will be
 * told the error by the kernel. */
static void ready(uv_poll_t *uv, int status, int events) {
  struct loop_watch *watch = uv->data;
  if (status) {
    start_watch(watch);
    watch->fn(watch->arg, watch->events);
    return;
  }
  watch->fn(watch->arg, (events & UV_READABLE ? LOOP_READ : 0) |
                            (events & UV_WRITABLE ? LOOP_WRITE : 0) |
                            (events & UV_PRIORITIZED ? LOOP_URGENT : 0));
}

enum status loop_watch(struct loop *loop, int fd, loop_watch_fn *fn, void *arg,
                       struct loop_watch **out) {
  struct loop_watch *watch = calloc(1, sizeof *watch);
  if (!watch)
    return STATUS_INTERNAL_ERROR;
  watch->fn = fn;
  watch->arg = arg;
  if (uv_poll_init(&loop->uv, &watch->uv, fd)) {
    free(watch);
    return STATUS_INTERNAL_ERROR;
  }
  watch->uv.data = watch;
  *out = watch;
  return STATUS_OK;
}

void loop_watch_events(struct loop_watch *watch, int events) {
  if (watch->events == events)
    return;
  watch->events = events;
  start_watch(watch);
}

void loop_unwatch(struct loop_watch *watch) {
  if (watch)
    close_handle((uv_handle_t *)&watch->uv, NULL);
}

static void expired(uv_timer_t *uv) {
  struct loop_timer *timer = uv->data;
  timer->fn(timer->arg);
}

enum status loop_timer(struct loop *loop, loop_timer_fn *fn, void *arg, struct loop_timer **out) {
  struct loop_timer *timer = calloc(1, sizeof *timer);
  if (!timer)
    return STATUS_INTERNAL_ERROR;
  timer->fn = fn;
  timer->arg = arg;
  uv_timer_init(&loop->uv, &timer->uv);
  timer->uv.data = timer;
  *out = timer;
  return STATUS_OK;
}

/* libuv counts from the time when its turn began, which may be long ago. */
void loop_timer_start(struct loop_timer *timer, uint64_t after_ms, uint64_t repeat_ms) {
  uv_update_time(timer->uv.loop);
  uv_timer_start(&timer->uv, expired, after_ms, repeat_ms);
}

void loop_timer_stop(struct loop_timer *timer) { uv_timer_stop(&timer->uv); }

void loop_timer_free(struct loop_timer *timer) {
  if (timer)
    close_handle((uv_handle_t *)&timer->uv, NULL);
}

static void signalled(uv_signal_t *uv, int signal_number) {
  struct loop_signal_handle *signal = (struct loop_signal_handle *)uv;
  signal->fn(signal->arg, signal_number);
}

enum status loop_signal(struct loop *loop, int signal_number, loop_signal_fn *fn, void *arg) {
  if (loop->signal_count == LOOP_SIGNALS)
    return STATUS_INTERNAL_ERROR;
  struct loop_signal_handle *signal = &loop->signals[loop->signal_count];
  signal->fn = fn;
  signal->arg = arg;
  if (uv_signal_init(&loop->uv, &signal->uv))
    return STATUS_INTERNAL_ERROR;
  loop->signal_count++;
  int error = uv_signal_start(&signal->uv, signalled, signal_number);
  return error ? STATUS_INTERNAL_ERROR : STATUS_OK;
}
