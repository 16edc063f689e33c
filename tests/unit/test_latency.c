/* latency: every time is in one bucket, at the edges too, and both rows of an action are one. */
#include "ops/latency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "history/history.h"
#include "ops/ops.h"

static struct latency *latency;

static int setup(void **state) {
  (void)state;
  return latency_create(&latency) != STATUS_OK;
}

static int teardown(void **state) {
  (void)state;
  latency_free(latency);
  return 0;
}

/* The place of the first row with this action. */
static size_t place_of(const char *action) {
  size_t count, place = 0;
  const struct ops_row *const *rows = ops_rows(&count);
  while (!rows[place]->action || strcmp(rows[place]->action, action) != 0)
    assert_true(++place < count);
  return place;
}

static void a_time_counts_up_to_its_edge_and_beyond(void **state) {
  const struct ops_row *row = ops_by_action("memory.get_status");
  struct latency_figures found;
  (void)state;
  for (unsigned edge = LATENCY_FIRST; edge <= LATENCY_LAST; edge++) {
    uint64_t ns = UINT64_C(1) << edge;
    for (int side = -1; side <= 1; side++) {
      uint64_t before[2] = {0, 0};
      size_t place = place_of(row->action);
      if (latency_read(latency, place, &found)) {
        before[0] = latency_up_to(&found, edge);
        before[1] = found.count;
      }
      latency_add(latency, row, ns + (uint64_t)side, false);
      assert_true(latency_read(latency, place, &found));
      assert_int_equal(before[0] + (side <= 0), latency_up_to(&found, edge));
      assert_int_equal(before[1] + 1, found.count);
    }
  }
  assert_int_equal((UINT64_C(1) << LATENCY_LAST) + 1, found.max_ns);
}

static void extremes_have_a_bucket(void **state) {
  const struct ops_row *row = ops_by_action("memory.get_status");
  struct latency_figures found;
  (void)state;
  latency_add(latency, row, 0, false);
  latency_add(latency, row, UINT64_MAX, true);
  assert_true(latency_read(latency, place_of("memory.get_status"), &found));
  assert_int_equal(1, latency_up_to(&found, LATENCY_FIRST));
  assert_int_equal(1, latency_up_to(&found, LATENCY_LAST));
  assert_int_equal(2, found.count);
  assert_int_equal(1, found.failed);
}

static void both_rows_of_an_action_are_one(void **state) {
  size_t count, read = 0;
  const struct ops_row *const *rows = ops_rows(&count);
  struct latency_figures found;
  (void)state;
  for (size_t i = 0; i < count; i++) {
    if (rows[i]->action && strcmp(rows[i]->action, "memory.get_status") == 0)
      latency_add(latency, rows[i], 1000, false);
    if (!rows[i]->action)
      latency_add(latency, rows[i], 1000, false);
  }
  for (size_t i = 0; i < count; i++)
    if (latency_read(latency, i, &found)) {
      assert_string_equal("memory.get_status", found.action);
      assert_int_equal(2, found.count);
      read++;
    }
  assert_int_equal(1, read);
}

/* ---- parts ---- */

struct question {
  struct task task;
  struct history *history;
  struct history_operation found[2];
  uint32_t count;
  atomic_bool done;
};

static void answer(struct task *task) {
  struct question *q = (struct question *)task;
  const struct history_window window = {.to = clock_real() + CLOCK_SECOND};
  q->count = history_operations(q->history, &window, q->found, 2);
  q->done = true;
}

static void ask(struct question *q, struct history *history) {
  *q = (struct question){.task.run = answer, .history = history};
  assert_true(history_post(history, &q->task));
  while (!q->done)
    usleep(200);
}

static void the_history_gets_each_time_once(void **state) {
  const struct ops_row *row = ops_by_action("memory.get_status");
  struct history *history;
  struct question q;
  (void)state;
  assert_int_equal(history_open(&(struct history_params){.folder = NULL}, &history), STATUS_OK);
  latency_give(latency, history);
  ask(&q, history);
  assert_int_equal(q.count, 0);
  latency_add(latency, row, 5000000, true);
  latency_give(latency, history);
  latency_give(latency, history);
  latency_add(latency, row, 3000, false);
  latency_give(latency, history);
  ask(&q, history);
  assert_int_equal(q.count, 1);
  assert_string_equal(q.found[0].action, "memory.get_status");
  assert_int_equal(q.found[0].count, 2);
  assert_int_equal(q.found[0].errors, 1);
  assert_int_equal(q.found[0].sum_ns, 5003000);
  assert_int_equal(q.found[0].max_ns, 5000000);
  history_close(history);
}

static void what_the_history_does_not_take_is_kept(void **state) {
  const struct ops_row *row = ops_by_action("memory.get_status");
  struct history *history;
  struct question q;
  (void)state;
  latency_add(latency, row, 7000, false);
  latency_give(latency, NULL);
  latency_add(latency, row, 2000, false);
  assert_int_equal(history_open(&(struct history_params){.folder = NULL}, &history), STATUS_OK);
  latency_give(latency, history);
  ask(&q, history);
  assert_int_equal(q.found[0].count, 2);
  assert_int_equal(q.found[0].max_ns, 7000);
  history_close(history);
}

static void the_longest_is_of_its_part(void **state) {
  const struct ops_row *row = ops_by_action("memory.get_status");
  struct history *history;
  struct question q;
  (void)state;
  latency_add(latency, row, 9000000, false);
  assert_int_equal(history_open(&(struct history_params){.folder = NULL}, &history), STATUS_OK);
  latency_give(latency, history);
  history_close(history);
  assert_int_equal(history_open(&(struct history_params){.folder = NULL}, &history), STATUS_OK);
  latency_add(latency, row, 4000, false);
  latency_give(latency, history);
  ask(&q, history);
  assert_int_equal(q.found[0].count, 1);
  assert_int_equal(q.found[0].max_ns, 4000);
  history_close(history);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_time_counts_up_to_its_edge_and_beyond), TEST(extremes_have_a_bucket),
      TEST(both_rows_of_an_action_are_one),          TEST(the_history_gets_each_time_once),
      TEST(what_the_history_does_not_take_is_kept),  TEST(the_longest_is_of_its_part),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
