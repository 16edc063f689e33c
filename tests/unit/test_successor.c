/* successor: what follows is learned when it was seen often enough to be no chance, and forgotten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "model/successor.h"

static struct successor_table *table;

static int begin(void **state) {
  (void)state;
  table = calloc(1, sizeof *table);
  return !table;
}

static int end(void **state) {
  (void)state;
  free(table);
  return 0;
}

static void ask(const char *models) {
  for (; *models; models++)
    successor_add(table, (uint64_t)*models);
}

static bool is_sure(char after, char next) {
  struct successor found = successor_after(table, (uint64_t)after);
  return found.id == (uint64_t)next && found.confidence >= SUCCESSOR_SURE;
}

static void three_times_of_three_are_no_chance(void **state) {
  (void)state;
  ask("ABABA");
  assert_false(is_sure('A', 'B'));
  assert_int_equal(2, successor_after(table, 'A').count);
  ask("BA");
  assert_true(is_sure('A', 'B'));
  assert_true(is_sure('B', 'A'));
  assert_int_equal(3, successor_after(table, 'A').total);
}

static void a_cycle_is_learned_and_who_is_asked_twice_counts_once(void **state) {
  (void)state;
  ask("AABBBCAABCCABCA");
  assert_true(is_sure('A', 'B'));
  assert_true(is_sure('B', 'C'));
  assert_true(is_sure('C', 'A'));
}

static void without_a_pattern_nobody_is_foretold(void **state) {
  (void)state;
  unsigned seed = 1;
  for (int i = 0; i < 20000; i++) {
    seed = seed * 1664525u + 1013904223u;
    uint64_t id = 1 + (seed >> 16) % 8;
    successor_add(table, id);
    assert_true(successor_after(table, id).confidence < SUCCESSOR_SURE);
  }
}

static void another_pattern_replaces_the_one_that_was(void **state) {
  (void)state;
  for (int i = 0; i < 40; i++)
    ask("AB");
  assert_true(is_sure('A', 'B'));
  for (int i = 0; i < SUCCESSOR_MOST + 16; i++)
    ask("AC");
  assert_true(is_sure('A', 'C'));
}

static void many_successors_do_not_push_out_the_one_that_comes_often(void **state) {
  (void)state;
  ask("ABABABAB");
  for (char other = 'a'; other < 'i'; other++)
    ask((char[]){'A', other, 'A', 'B', 'A', 'B', 'A', 'B', '\0'});
  struct successor found = successor_after(table, 'A');
  assert_int_equal('B', found.id);
  assert_true(found.count <= found.total);
}

static void nobody_is_known_of_one_who_was_never_there(void **state) {
  (void)state;
  assert_int_equal(0, successor_after(table, 7).id);
  assert_int_equal(0, successor_after(table, 0).id);
  ask("A");
  assert_int_equal(0, successor_after(table, 'A').id);
}

static void more_models_than_there_are_places_for_are_no_harm(void **state) {
  (void)state;
  for (uint64_t id = 1; id <= 100000; id++)
    successor_add(table, id);
  assert_int_equal(0, successor_after(table, 1).id);
  assert_int_equal(100000, successor_after(table, 99999).id);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(three_times_of_three_are_no_chance, begin, end),
      cmocka_unit_test_setup_teardown(a_cycle_is_learned_and_who_is_asked_twice_counts_once, begin,
                                      end),
      cmocka_unit_test_setup_teardown(without_a_pattern_nobody_is_foretold, begin, end),
      cmocka_unit_test_setup_teardown(another_pattern_replaces_the_one_that_was, begin, end),
      cmocka_unit_test_setup_teardown(many_successors_do_not_push_out_the_one_that_comes_often,
                                      begin, end),
      cmocka_unit_test_setup_teardown(nobody_is_known_of_one_who_was_never_there, begin, end),
      cmocka_unit_test_setup_teardown(more_models_than_there_are_places_for_are_no_harm, begin,
                                      end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
