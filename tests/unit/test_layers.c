/* layers: a task's time is split as its worker says, and what it does not say is not known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "service/layers.h"
#include "service/state.h"

#define MINUTE (60 * CLOCK_SECOND)
#define US UINT64_C(1000)

static struct service service; /* of which only the layers are made */

static int begin(void **state) {
  (void)state;
  return (int)layers_create(&service);
}

static int end(void **state) {
  (void)state;
  layers_free(&service);
  return 0;
}

static struct mover_task task_of(enum mover_action action, uint64_t elapsed_us,
                                 uint64_t device_us) {
  return (struct mover_task){
      .action = action, .layers = service.layers, .elapsed_us = elapsed_us, .device_us = device_us};
}

/* Answered just now, after 30 us in the daemon and 200 us on the way and back. */
static void answer(struct mover_task task, uint64_t now) {
  task.sent_ns = now - 200 * US;
  task.began_ns = task.sent_ns - 30 * US;
  layers_answered(&task, now);
}

static struct layers_row row_of(enum mover_action action, uint64_t window) {
  struct layers_row rows[MOVER_ACTIONS];
  layers_read(&service, window, rows);
  return rows[action];
}

static void the_wire_is_what_is_left(void **state) {
  (void)state;
  answer(task_of(MOVER_COPY, 150, 100), clock_now());
  answer(task_of(MOVER_COPY, 170, 20), clock_now());
  answer(task_of(MOVER_FILL, 200, 200), clock_now());
  struct layers_row copy = row_of(MOVER_COPY, MINUTE), fill = row_of(MOVER_FILL, MINUTE);
  assert_int_equal(2, copy.count);
  assert_true(copy.told == 2 && copy.split == 2);
  assert_int_equal(60 * US, copy.decision_ns);
  assert_int_equal(80 * US, copy.wire_ns);
  assert_int_equal(200 * US, copy.worker_ns);
  assert_int_equal(120 * US, copy.device_ns);
  assert_int_equal(200 * US, fill.device_ns);
  assert_int_equal(0, fill.wire_ns + fill.worker_ns);
  assert_int_equal(0, row_of(MOVER_TRANSFER, MINUTE).count);
}

static void who_says_nothing_or_too_much_is_not_split(void **state) {
  (void)state;
  answer(task_of(MOVER_CLEAR, UINT64_MAX, UINT64_MAX), clock_now());
  answer(task_of(MOVER_CLEAR, 100, UINT64_MAX), clock_now());
  answer(task_of(MOVER_CLEAR, 201, 5), clock_now());
  answer(task_of(MOVER_CLEAR, 100, 101), clock_now());
  struct layers_row clear = row_of(MOVER_CLEAR, MINUTE);
  assert_int_equal(4, clear.count);
  assert_int_equal(120 * US, clear.decision_ns);
  assert_int_equal(2, clear.told);
  assert_int_equal(200 * US, clear.wire_ns);
  assert_int_equal(0, clear.split + clear.worker_ns + clear.device_ns);
}

static void what_was_before_the_window_is_not_in_it(void **state) {
  (void)state;
  uint64_t now = clock_now();
  if (now < 61 * MINUTE) /* a machine that has just started has no past */
    skip();
  answer(task_of(MOVER_LOAD, 10, 5), now - 61 * MINUTE); /* where the next will be */
  answer(task_of(MOVER_LOAD, 10, 5), now - 30 * MINUTE);
  answer(task_of(MOVER_LOAD, 10, 5), now);
  assert_int_equal(1, row_of(MOVER_LOAD, 10 * MINUTE).count);
  assert_int_equal(2, row_of(MOVER_LOAD, 60 * MINUTE).count);
  assert_int_equal(2, row_of(MOVER_LOAD, 600 * MINUTE).count);
}

static void a_task_of_nobody_is_not_counted(void **state) {
  (void)state;
  struct mover_task task = {.action = MOVER_COPY};
  layers_answered(&task, clock_now());
  assert_int_equal(0, row_of(MOVER_COPY, MINUTE).count);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(the_wire_is_what_is_left, begin, end),
      cmocka_unit_test_setup_teardown(who_says_nothing_or_too_much_is_not_split, begin, end),
      cmocka_unit_test_setup_teardown(what_was_before_the_window_is_not_in_it, begin, end),
      cmocka_unit_test_setup_teardown(a_task_of_nobody_is_not_counted, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
