#include "base/queue.h"

#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pthread.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/lock.h"

#define MAX_RUNS 4096

/* What ran, in order. */
struct record {
  struct lock lock;
  int names[MAX_RUNS];
  int count;
};

struct note {
  struct task task; /* first */
  struct record *record;
  int name;
};

struct gate {
  struct task task; /* first */
  sem_t entered, open;
};

struct fixture {
  struct queue *queue;
  struct record record;
  struct gate gate;
};

static void write_note(struct task *task) {
  struct note *note = (struct note *)task;
  LOCK_SCOPE(&note->record->lock);
  note->record->names[note->record->count++] = note->name;
}

static void hold(struct task *task) {
  struct gate *gate = (struct gate *)task;
  sem_post(&gate->entered);
  sem_wait(&gate->open);
}

static void wait_for(sem_t *sem) {
  while (sem_wait(sem))
    ;
}

static struct note note(struct fixture *f, int name) {
  return (struct note){.task = {.run = write_note}, .record = &f->record, .name = name};
}

/* The queue's thread stands in the gate until it is opened. */
static void close_gate(struct fixture *f) {
  assert_true(queue_post(f->queue, &f->gate.task));
  wait_for(&f->gate.entered);
}

static void open_gate(struct fixture *f) { sem_post(&f->gate.open); }

/* All that was posted before has run. */
static void settle(struct fixture *f) {
  close_gate(f);
  open_gate(f);
}

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  lock_init(&f->record.lock, LOCK_RANK_LEAF, "record");
  f->gate.task.run = hold;
  sem_init(&f->gate.entered, 0, 0);
  sem_init(&f->gate.open, 0, 0);
  *state = f;
  return queue_create("test", &f->queue);
}

static int teardown(void **state) {
  struct fixture *f = *state;
  queue_free(f->queue);
  lock_done(&f->record.lock);
  free(f);
  return 0;
}

static void runs_in_order_of_arrival(void **state) {
  struct fixture *f = *state;
  struct note notes[100];
  for (int i = 0; i < 100; i++) {
    notes[i] = note(f, i);
    assert_true(queue_post(f->queue, &notes[i].task));
  }
  settle(f);
  assert_int_equal(f->record.count, 100);
  for (int i = 0; i < 100; i++)
    assert_int_equal(f->record.names[i], i);
}

static void a_queued_task_is_not_posted_twice(void **state) {
  struct fixture *f = *state;
  struct note one = note(f, 1);
  close_gate(f);
  assert_true(queue_post(f->queue, &one.task));
  assert_false(queue_post(f->queue, &one.task));
  open_gate(f);
  settle(f);
  assert_int_equal(f->record.count, 1);
  assert_true(queue_post(f->queue, &one.task));
  settle(f);
  assert_int_equal(f->record.count, 2);
}

static void timed_tasks_run_in_order_of_time(void **state) {
  struct fixture *f = *state;
  static const uint64_t after[] = {30, 10, 20, 0, 10};
  static const int expected[] = {3, 1, 4, 2, 0};
  struct note notes[5];
  struct gate last = {.task = {.run = hold}};
  sem_init(&last.entered, 0, 0);
  sem_init(&last.open, 0, 1);
  close_gate(f);
  uint64_t now = clock_now();
  for (int i = 0; i < 5; i++) {
    notes[i] = note(f, i);
    queue_post_at(f->queue, &notes[i].task, now + after[i] * CLOCK_MS);
  }
  queue_post_at(f->queue, &last.task, now + 40 * CLOCK_MS);
  open_gate(f);
  wait_for(&last.entered);
  assert_true(clock_now() >= now + 40 * CLOCK_MS);
  assert_int_equal(f->record.count, 5);
  for (int i = 0; i < 5; i++)
    assert_int_equal(f->record.names[i], expected[i]);
  settle(f);
}

static void an_earlier_task_wakes_a_queue_that_sleeps_for_a_later(void **state) {
  struct fixture *f = *state;
  struct note later = note(f, 1);
  queue_post_at(f->queue, &later.task, clock_now() + 3600 * CLOCK_SECOND);
  struct gate soon = {.task = {.run = hold}};
  sem_init(&soon.entered, 0, 0);
  sem_init(&soon.open, 0, 1);
  queue_post_at(f->queue, &soon.task, clock_now() + CLOCK_MS);
  wait_for(&soon.entered);
  settle(f);
  assert_int_equal(f->record.count, 0);
  assert_true(queue_cancel(f->queue, &later.task));
}

static void posting_a_timed_task_again_moves_it(void **state) {
  struct fixture *f = *state;
  struct note a = note(f, 1), b = note(f, 2);
  uint64_t hour = clock_now() + 3600 * CLOCK_SECOND;
  close_gate(f);
  queue_post_at(f->queue, &a.task, 1);
  queue_post_at(f->queue, &b.task, hour);
  queue_post_at(f->queue, &a.task, hour);
  queue_post_at(f->queue, &b.task, 0);
  open_gate(f);
  settle(f);
  settle(f); /* the due one may have let the first gate go before */
  assert_int_equal(f->record.count, 1);
  assert_int_equal(f->record.names[0], 2);
  assert_true(queue_cancel(f->queue, &a.task));
}

static void a_task_queued_untimed_is_not_put_off(void **state) {
  struct fixture *f = *state;
  struct note a = note(f, 1);
  close_gate(f);
  assert_true(queue_post(f->queue, &a.task));
  queue_post_at(f->queue, &a.task, clock_now() + 3600 * CLOCK_SECOND);
  open_gate(f);
  settle(f);
  assert_int_equal(f->record.count, 1);
}

static void a_cancelled_task_does_not_run(void **state) {
  struct fixture *f = *state;
  struct note a = note(f, 1), b = note(f, 2), c = note(f, 3), d = note(f, 4);
  close_gate(f);
  queue_post(f->queue, &a.task);
  queue_post(f->queue, &b.task);
  queue_post_at(f->queue, &c.task, 1);
  assert_true(queue_cancel(f->queue, &b.task)); /* the last of the line */
  assert_false(queue_cancel(f->queue, &b.task));
  assert_true(queue_cancel(f->queue, &c.task));
  queue_post(f->queue, &d.task);
  open_gate(f);
  settle(f);
  assert_int_equal(f->record.count, 2);
  assert_int_equal(f->record.names[0], 1);
  assert_int_equal(f->record.names[1], 4);
  assert_false(queue_cancel(f->queue, &a.task));
}

struct again {
  struct task task; /* first */
  struct queue *queue;
  bool timed;
  sem_t *done;
  int left;
};

static void run_again(struct task *task) {
  struct again *again = (struct again *)task;
  if (!--again->left)
    sem_post(again->done);
  else if (again->timed)
    queue_post_at(again->queue, task, 0);
  else
    queue_post(again->queue, task);
}

static void tasks_may_post_themselves(void **state) {
  struct fixture *f = *state;
  sem_t done;
  sem_init(&done, 0, 0);
  struct again a = {.task = {.run = run_again}, .queue = f->queue, .done = &done, .left = 100};
  queue_post(f->queue, &a.task);
  wait_for(&done);
  assert_int_equal(a.left, 0);
}

static void ever_due_tasks_and_untimed_ones_do_not_starve_each_other(void **state) {
  struct fixture *f = *state;
  sem_t done;
  sem_init(&done, 0, 0);
  struct again timed = {
      .task = {.run = run_again}, .queue = f->queue, .timed = true, .done = &done, .left = -1};
  struct again untimed = {.task = {.run = run_again}, .queue = f->queue, .done = &done, .left = -1};
  queue_post_at(f->queue, &timed.task, 0);
  queue_post(f->queue, &untimed.task);
  struct gate line = {.task = {.run = hold}}, due = {.task = {.run = hold}};
  sem_init(&line.entered, 0, 0);
  sem_init(&line.open, 0, 1);
  sem_init(&due.entered, 0, 0);
  sem_init(&due.open, 0, 1);
  queue_post(f->queue, &line.task);
  queue_post_at(f->queue, &due.task, 1);
  wait_for(&line.entered);
  wait_for(&due.entered);
  close_gate(f);
  timed.left = untimed.left = 1;
  open_gate(f);
  wait_for(&done);
  wait_for(&done);
}

static void free_runs_the_untimed_and_drops_the_timed(void **state) {
  struct fixture *f = *state;
  struct note notes[10], timed = note(f, 99);
  close_gate(f);
  for (int i = 0; i < 10; i++) {
    notes[i] = note(f, i);
    queue_post(f->queue, &notes[i].task);
  }
  queue_post_at(f->queue, &timed.task, clock_now() + 3600 * CLOCK_SECOND);
  open_gate(f);
  queue_free(f->queue);
  f->queue = NULL;
  assert_int_equal(f->record.count, 10);
  assert_false(timed.task.queued);
}

struct facts {
  struct task task; /* first */
  const struct queue *queue;
  bool mine;
  bool signals_blocked;
  char name[16];
};

static void gather(struct task *task) {
  struct facts *facts = (struct facts *)task;
  facts->mine = queue_is_mine(facts->queue);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  facts->signals_blocked = sigismember(&mask, SIGTERM) && sigismember(&mask, SIGCHLD);
  pthread_getname_np(pthread_self(), facts->name, sizeof facts->name);
}

static void its_thread_knows_itself_has_a_name_and_takes_no_signals(void **state) {
  struct fixture *f = *state;
  struct facts facts = {.task = {.run = gather}, .queue = f->queue};
  queue_post(f->queue, &facts.task);
  settle(f);
  assert_true(facts.mine);
  assert_true(facts.signals_blocked);
  assert_string_equal(facts.name, "test");
  assert_false(queue_is_mine(f->queue));
}

struct poster {
  struct queue *queue;
  struct note *notes;
};

static void *post_many(void *arg) {
  struct poster *poster = arg;
  for (int i = 0; i < 500; i++)
    queue_post(poster->queue, &poster->notes[i].task);
  return NULL;
}

static void many_threads_may_post(void **state) {
  struct fixture *f = *state;
  static struct note notes[4][500];
  struct poster posters[4];
  pthread_t threads[4];
  for (int t = 0; t < 4; t++) {
    for (int i = 0; i < 500; i++)
      notes[t][i] = note(f, t * 500 + i);
    posters[t] = (struct poster){f->queue, notes[t]};
    assert_int_equal(pthread_create(&threads[t], NULL, post_many, &posters[t]), 0);
  }
  for (int t = 0; t < 4; t++)
    pthread_join(threads[t], NULL);
  settle(f);
  assert_int_equal(f->record.count, 2000);
  int last[4] = {-1, -1, -1, -1};
  for (int i = 0; i < 2000; i++) {
    int *before = &last[f->record.names[i] / 500];
    assert_true(f->record.names[i] > *before);
    *before = f->record.names[i];
  }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(runs_in_order_of_arrival),
      TEST(a_queued_task_is_not_posted_twice),
      TEST(timed_tasks_run_in_order_of_time),
      TEST(an_earlier_task_wakes_a_queue_that_sleeps_for_a_later),
      TEST(posting_a_timed_task_again_moves_it),
      TEST(a_task_queued_untimed_is_not_put_off),
      TEST(a_cancelled_task_does_not_run),
      TEST(tasks_may_post_themselves),
      TEST(ever_due_tasks_and_untimed_ones_do_not_starve_each_other),
      TEST(free_runs_the_untimed_and_drops_the_timed),
      TEST(its_thread_knows_itself_has_a_name_and_takes_no_signals),
      TEST(many_threads_may_post),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
