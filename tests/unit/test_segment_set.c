/* segment_set: a set, whatever the order of additions and removals. */
#include "daemon/segment_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define MANY 500

static void an_empty_set_has_nothing(void **state) {
  (void)state;
  struct segment_set set = {0};
  assert_false(segment_set_has(&set, 1));
  segment_set_remove(&set, 1);
  assert_int_equal(set.count, 0);
}

static void what_was_added_is_there_and_its_neighbours_are_not(void **state) {
  (void)state;
  struct segment_set set = {0};
  for (uint64_t i = 0; i < MANY; i++)
    assert_true(segment_set_add(&set, 1 + 2 * ((i * 7919) % MANY)));
  for (uint64_t i = 0; i < MANY; i++) {
    assert_true(segment_set_has(&set, 1 + 2 * i));
    assert_false(segment_set_has(&set, 2 + 2 * i));
  }
  assert_int_equal(set.count, MANY);
  segment_set_clear(&set);
}

static void an_id_is_in_it_once(void **state) {
  (void)state;
  struct segment_set set = {0};
  assert_true(segment_set_add(&set, 5));
  assert_true(segment_set_add(&set, 5));
  segment_set_remove(&set, 5);
  assert_false(segment_set_has(&set, 5));
  segment_set_clear(&set);
}

static void what_was_removed_is_gone_and_the_rest_stays(void **state) {
  (void)state;
  struct segment_set set = {0};
  for (uint64_t i = 1; i <= MANY; i++)
    assert_true(segment_set_add(&set, i));
  for (uint64_t i = 3; i <= MANY; i += 3)
    segment_set_remove(&set, i);
  for (uint64_t i = 1; i <= MANY; i++)
    assert_int_equal(segment_set_has(&set, i), i % 3 != 0);
  segment_set_clear(&set);
}

static void a_cleared_set_can_be_used_again(void **state) {
  (void)state;
  struct segment_set set = {0};
  assert_true(segment_set_add(&set, UINT64_MAX));
  segment_set_clear(&set);
  assert_false(segment_set_has(&set, UINT64_MAX));
  assert_true(segment_set_add(&set, 0));
  assert_true(segment_set_has(&set, 0));
  segment_set_clear(&set);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_empty_set_has_nothing),
      cmocka_unit_test(what_was_added_is_there_and_its_neighbours_are_not),
      cmocka_unit_test(an_id_is_in_it_once),
      cmocka_unit_test(what_was_removed_is_gone_and_the_rest_stays),
      cmocka_unit_test(a_cleared_set_can_be_used_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
