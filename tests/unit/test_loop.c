/* loop: descriptors, timers, signals and tasks of other threads, one at a time. A test ends when
 * what it waits for has happened; a loop that never does is ended by ctest. */
#include "base/loop.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define NOTES 64

/* What happened, in order, and when to stop. */
struct fixture {
  struct loop *loop;
  int notes[NOTES];
  int count, stop_at;
  struct loop_watch *watch;
  struct loop_timer *timer;
  int fds[2];
};

static void note(struct fixture *f, int what) {
  assert_true(f->count < NOTES);
  f->notes[f->count++] = what;
  if (f->count == f->stop_at)
    loop_stop(f->loop);
}

static void assert_notes(const struct fixture *f, const int *expected, int count) {
  assert_int_equal(count, f->count);
  assert_memory_equal(expected, f->notes, (size_t)count * sizeof *expected);
}
#define ASSERT_NOTES(f, ...)                                                                       \
  assert_notes(f, (const int[]){__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int))

static int setup(void **state) {
  static struct fixture fixture;
  fixture = (struct fixture){.fds = {-1, -1}};
  *state = &fixture;
  return loop_create(&fixture.loop);
}

static int teardown(void **state) {
  struct fixture *f = *state;
  loop_free(f->loop);
  for (int i = 0; i < 2; i++)
    if (f->fds[i] >= 0)
      close(f->fds[i]);
  return 0;
}

static void run_until(struct fixture *f, int count) {
  f->stop_at = count;
  if (f->count < count)
    loop_run(f->loop);
}

/* ---- tasks ---- */

struct job {
  struct task task; /* first */
  struct fixture *f;
  int name;
  struct task *then; /* posted from its run */
  bool stops, again;
};

static void run_job(struct task *task) {
  struct job *job = (struct job *)task;
  note(job->f, job->name);
  if (job->then)
    assert_true(loop_post(job->f->loop, job->then));
  if (job->again)
    assert_true(loop_post(job->f->loop, task));
  if (job->stops)
    loop_stop(job->f->loop);
}

static struct job job(struct fixture *f, int name) {
  return (struct job){.task = {.run = run_job}, .f = f, .name = name};
}

static void tasks_run_in_order(void **state) {
  struct fixture *f = *state;
  struct job jobs[3];
  for (int i = 0; i < 3; i++) {
    jobs[i] = job(f, i);
    assert_true(loop_post(f->loop, &jobs[i].task));
  }
  assert_false(loop_post(f->loop, &jobs[1].task));
  run_until(f, 3);
  ASSERT_NOTES(f, 0, 1, 2);
  assert_true(loop_post(f->loop, &jobs[1].task));
  run_until(f, 4);
  ASSERT_NOTES(f, 0, 1, 2, 1);
}

static void a_task_may_post_itself(void **state) {
  struct fixture *f = *state;
  static struct job one; /* it is still posted when the loop is freed */
  one = job(f, 7);
  one.again = true;
  loop_post(f->loop, &one.task);
  run_until(f, 5);
  assert_true(f->count >= 5);
  assert_true(one.task.queued);
}

static void what_was_posted_before_the_stop_runs(void **state) {
  struct fixture *f = *state;
  struct job second = job(f, 2), first = job(f, 1);
  first.then = &second.task;
  first.stops = true;
  loop_post(f->loop, &first.task);
  loop_run(f->loop);
  ASSERT_NOTES(f, 1, 2);
}

static void a_stop_before_the_run_counts(void **state) {
  struct fixture *f = *state;
  struct job one = job(f, 1);
  loop_post(f->loop, &one.task);
  loop_stop(f->loop);
  loop_run(f->loop);
  ASSERT_NOTES(f, 1);
}

static void a_stopped_loop_runs_again(void **state) {
  struct fixture *f = *state;
  struct job one = job(f, 1);
  for (int i = 1; i <= 3; i++) {
    loop_post(f->loop, &one.task);
    loop_stop(f->loop);
    loop_run(f->loop);
    assert_int_equal(i, f->count);
  }
}

static void tasks_that_did_not_run_are_dropped(void **state) {
  struct fixture *f = *state;
  struct job one = job(f, 1);
  loop_post(f->loop, &one.task);
  loop_free(f->loop);
  f->loop = NULL;
  assert_int_equal(0, f->count);
  assert_false(one.task.queued);
}

#define POSTERS 4
#define POSTS 2000

struct poster {
  struct job jobs[POSTS];
  pthread_t thread;
};

static void count_job(struct task *task) {
  struct job *counted = (struct job *)task;
  if (++counted->f->count == POSTERS * POSTS)
    loop_stop(counted->f->loop);
}

static void *post_all(void *arg) {
  struct poster *poster = arg;
  for (int i = 0; i < POSTS; i++)
    loop_post(poster->jobs[i].f->loop, &poster->jobs[i].task);
  return NULL;
}

static void no_task_of_many_threads_is_lost(void **state) {
  static struct poster posters[POSTERS];
  struct fixture *f = *state;
  for (int i = 0; i < POSTERS; i++) {
    for (int n = 0; n < POSTS; n++)
      posters[i].jobs[n] = (struct job){.task = {.run = count_job}, .f = f};
    assert_int_equal(0, pthread_create(&posters[i].thread, NULL, post_all, &posters[i]));
  }
  loop_run(f->loop);
  for (int i = 0; i < POSTERS; i++)
    pthread_join(posters[i].thread, NULL);
  assert_int_equal(POSTERS * POSTS, f->count);
}

/* ---- descriptors ---- */

/* What is ready stays ready: it is told once. */
static void ready(void *arg, int events) {
  struct fixture *f = arg;
  loop_watch_events(f->watch, 0);
  note(f, events);
}

static void watch_pair(struct fixture *f) {
  assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->fds));
  assert_int_equal(STATUS_OK, loop_watch(f->loop, f->fds[0], ready, f, &f->watch));
}

static void a_watch_starts_paused(void **state) {
  struct fixture *f = *state;
  struct job one = job(f, 100);
  watch_pair(f);
  assert_int_equal(1, write(f->fds[1], "x", 1));
  loop_post(f->loop, &one.task);
  loop_stop(f->loop);
  loop_run(f->loop);
  ASSERT_NOTES(f, 100);
  loop_watch_events(f->watch, LOOP_READ);
  run_until(f, 2);
  ASSERT_NOTES(f, 100, LOOP_READ);
}

static void a_watched_descriptor_does_not_block(void **state) {
  struct fixture *f = *state;
  watch_pair(f);
  assert_true(fcntl(f->fds[0], F_GETFL) & O_NONBLOCK);
}

static void a_descriptor_has_one_watch(void **state) {
  struct fixture *f = *state;
  struct loop_watch *second = NULL;
  watch_pair(f);
  loop_watch_events(f->watch, LOOP_READ);
  assert_int_equal(STATUS_INTERNAL_ERROR, loop_watch(f->loop, f->fds[0], ready, f, &second));
  assert_null(second);
}

static void what_cannot_be_watched_is_refused(void **state) {
  struct fixture *f = *state;
  struct loop_watch *watch = NULL;
  assert_int_equal(STATUS_INTERNAL_ERROR, loop_watch(f->loop, 9999, ready, f, &watch));
  assert_null(watch);
}

static void writing_and_reading_are_told_apart(void **state) {
  struct fixture *f = *state;
  watch_pair(f);
  loop_watch_events(f->watch, LOOP_WRITE);
  run_until(f, 1);
  assert_int_equal(1, write(f->fds[1], "x", 1));
  loop_watch_events(f->watch, LOOP_READ);
  run_until(f, 2);
  ASSERT_NOTES(f, LOOP_WRITE, LOOP_READ);
}

/* Urgent is what TCP sends out of band. */
static void what_is_urgent_is_told_apart(void **state) {
  struct fixture *f = *state;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  f->fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(0, bind(listener, (struct sockaddr *)&address, size));
  assert_int_equal(0, listen(listener, 1));
  assert_int_equal(0, getsockname(listener, (struct sockaddr *)&address, &size));
  assert_int_equal(0, connect(f->fds[1], (struct sockaddr *)&address, size));
  f->fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  close(listener);
  assert_int_equal(STATUS_OK, loop_watch(f->loop, f->fds[0], ready, f, &f->watch));
  loop_watch_events(f->watch, LOOP_URGENT);
  assert_int_equal(2, send(f->fds[1], "xy", 2, MSG_OOB));
  run_until(f, 1);
  ASSERT_NOTES(f, LOOP_URGENT);
}

static void the_end_of_the_peer_can_be_read(void **state) {
  struct fixture *f = *state;
  watch_pair(f);
  loop_watch_events(f->watch, LOOP_READ);
  close(f->fds[1]);
  f->fds[1] = -1;
  run_until(f, 1);
  ASSERT_NOTES(f, LOOP_READ);
}

/* The write end of a pipe without a reader is in error. */
static void an_error_is_told_as_all_events(void **state) {
  struct fixture *f = *state;
  assert_int_equal(0, pipe2(f->fds, O_CLOEXEC));
  assert_int_equal(STATUS_OK, loop_watch(f->loop, f->fds[1], ready, f, &f->watch));
  while (write(f->fds[1], (char[4096]){0}, 4096) > 0)
    ;
  close(f->fds[0]);
  f->fds[0] = -1;
  loop_watch_events(f->watch, LOOP_WRITE);
  run_until(f, 1);
  ASSERT_NOTES(f, LOOP_WRITE);
}

struct pair {
  struct fixture *f;
  struct loop_watch *watches[2];
};

static void unwatch_both(void *arg, int events) {
  struct pair *pair = arg;
  loop_unwatch(pair->watches[0]);
  loop_unwatch(pair->watches[1]);
  note(pair->f, events);
}

/* Both are ready in the same turn; whoever is first takes the other one away. */
static void an_unwatched_one_is_not_told_in_the_same_turn(void **state) {
  struct fixture *f = *state;
  struct job last = job(f, 100);
  struct pair pair = {.f = f};
  assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->fds));
  for (int i = 0; i < 2; i++) {
    assert_int_equal(STATUS_OK,
                     loop_watch(f->loop, f->fds[i], unwatch_both, &pair, &pair.watches[i]));
    loop_watch_events(pair.watches[i], LOOP_WRITE);
  }
  run_until(f, 1);
  loop_post(f->loop, &last.task);
  run_until(f, 2);
  ASSERT_NOTES(f, LOOP_WRITE, 100);
}

static void a_number_can_be_watched_again(void **state) {
  struct fixture *f = *state;
  watch_pair(f);
  loop_watch_events(f->watch, LOOP_READ);
  loop_unwatch(f->watch);
  close(f->fds[0]);
  close(f->fds[1]);
  int old = f->fds[0];
  watch_pair(f);
  assert_int_equal(old, f->fds[0]);
  assert_int_equal(1, write(f->fds[1], "x", 1));
  loop_watch_events(f->watch, LOOP_READ);
  run_until(f, 1);
  ASSERT_NOTES(f, LOOP_READ);
  loop_unwatch(NULL);
}

/* ---- timers ---- */

static void expired(void *arg) { note(arg, 1); }

static void a_timer_runs_once(void **state) {
  struct fixture *f = *state;
  struct loop_timer *later;
  assert_int_equal(STATUS_OK, loop_timer(f->loop, expired, f, &f->timer));
  assert_int_equal(STATUS_OK, loop_timer(f->loop, expired, f, &later));
  loop_timer_start(f->timer, 0, 0);
  loop_timer_start(later, 1, 0);
  run_until(f, 2);
  loop_timer_start(later, 1, 0);
  run_until(f, 3);
  assert_int_equal(3, f->count);
}

static void a_timer_repeats_until_it_is_stopped(void **state) {
  struct fixture *f = *state;
  struct job last = job(f, 100);
  assert_int_equal(STATUS_OK, loop_timer(f->loop, expired, f, &f->timer));
  loop_timer_start(f->timer, 1, 1);
  run_until(f, 3);
  loop_timer_stop(f->timer);
  int before = f->count;
  loop_post(f->loop, &last.task);
  loop_stop(f->loop);
  loop_run(f->loop);
  assert_int_equal(before + 1, f->count);
  loop_timer_free(f->timer);
  loop_timer_free(NULL);
}

static void free_timer(void *arg) {
  struct fixture *f = arg;
  loop_timer_free(f->timer);
  f->timer = NULL;
  note(f, 2);
}

static void a_timer_may_free_itself(void **state) {
  struct fixture *f = *state;
  assert_int_equal(STATUS_OK, loop_timer(f->loop, free_timer, f, &f->timer));
  loop_timer_start(f->timer, 0, 1);
  run_until(f, 1);
  ASSERT_NOTES(f, 2);
}

/* ---- signals ---- */

static void signalled(void *arg, int signal_number) { note(arg, signal_number); }

static void signals_arrive_in_the_loop(void **state) {
  struct fixture *f = *state;
  assert_int_equal(STATUS_OK, loop_signal(f->loop, SIGUSR1, signalled, f));
  assert_int_equal(STATUS_OK, loop_signal(f->loop, SIGUSR2, signalled, f));
  raise(SIGUSR2);
  assert_int_equal(0, f->count);
  run_until(f, 1);
  ASSERT_NOTES(f, SIGUSR2);
}

static void there_are_eight_signals(void **state) {
  struct fixture *f = *state;
  for (int i = 0; i < 8; i++)
    assert_int_equal(STATUS_OK, loop_signal(f->loop, SIGUSR1, signalled, f));
  assert_int_equal(STATUS_INTERNAL_ERROR, loop_signal(f->loop, SIGUSR1, signalled, f));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  const struct CMUnitTest tests[] = {
      TEST(tasks_run_in_order),
      TEST(a_task_may_post_itself),
      TEST(what_was_posted_before_the_stop_runs),
      TEST(a_stop_before_the_run_counts),
      TEST(a_stopped_loop_runs_again),
      TEST(tasks_that_did_not_run_are_dropped),
      TEST(no_task_of_many_threads_is_lost),
      TEST(a_watch_starts_paused),
      TEST(a_watched_descriptor_does_not_block),
      TEST(a_descriptor_has_one_watch),
      TEST(what_cannot_be_watched_is_refused),
      TEST(writing_and_reading_are_told_apart),
      TEST(what_is_urgent_is_told_apart),
      TEST(the_end_of_the_peer_can_be_read),
      TEST(an_error_is_told_as_all_events),
      TEST(an_unwatched_one_is_not_told_in_the_same_turn),
      TEST(a_number_can_be_watched_again),
      TEST(a_timer_runs_once),
      TEST(a_timer_repeats_until_it_is_stopped),
      TEST(a_timer_may_free_itself),
      TEST(signals_arrive_in_the_loop),
      TEST(there_are_eight_signals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
