/*
 * loop: the event loop (libuv behind it; the only file that includes it). One thread runs it; only
 * loop_post and loop_stop may be called from others.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/queue.h"

struct loop;
struct loop_watch;
struct loop_timer;

enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_URGENT = 4 }; /* what POLLPRI tells */

enum status loop_create(struct loop **out);
/* Runs until loop_stop, then what was posted before it. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* Drops tasks that did not run: before what they are part of is freed. The loop must not be
 * running. */
void loop_drop(struct loop *loop);
/* Closes watches and timers that are left, drops tasks that did not run. The loop must not be
 * running; NULL is fine. */
void loop_free(struct loop *loop);
/* Runs the task on the loop's thread. Thread-safe, in order; false if it is queued already. */
bool loop_post(struct loop *loop, struct task *task);

/* Calls fn while fd is ready for one of `events`; 0 events = paused. Also serves pidfds (readable =
 * the process ended). Starts paused. On an error of the fd all events are reported: reading or
 * writing tells which. An fd has one watch, becomes nonblocking, stays the caller's and must be
 * closed after loop_unwatch only. */
typedef void loop_watch_fn(void *arg, int events);
enum status loop_watch(struct loop *loop, int fd, loop_watch_fn *fn, void *arg,
                       struct loop_watch **out);
void loop_watch_events(struct loop_watch *watch, int events);
void loop_unwatch(struct loop_watch *watch); /* NULL is fine; fn is not called any more */

typedef void loop_timer_fn(void *arg);
enum status loop_timer(struct loop *loop, loop_timer_fn *fn, void *arg, struct loop_timer **out);
/* Starts or restarts; repeat_ms 0 = once. */
void loop_timer_start(struct loop_timer *timer, uint64_t after_ms, uint64_t repeat_ms);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer); /* NULL is fine */

/* Calls fn(arg, signal number) on the loop's thread. At most 8 signals. */
typedef void loop_signal_fn(void *arg, int signal_number);
enum status loop_signal(struct loop *loop, int signal_number, loop_signal_fn *fn, void *arg);

#endif
