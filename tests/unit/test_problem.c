/* problem: set clears what was there; what is too long is cut. */
#include "base/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void set_formats_and_returns_the_status(void **state) {
  (void)state;
  struct problem problem;
  assert_int_equal(problem_set(&problem, STATUS_DEVICE_NOT_FOUND, "no device %s:%d", "cuda", 7),
                   STATUS_DEVICE_NOT_FOUND);
  assert_int_equal(problem.status, STATUS_DEVICE_NOT_FOUND);
  assert_string_equal(problem.text, "no device cuda:7");
}

static void set_clears_the_rest(void **state) {
  (void)state;
  struct problem problem;
  memset(&problem, 'x', sizeof problem);
  problem_set(&problem, STATUS_CONFLICT, "busy");
  assert_string_equal(problem.field, "");
  assert_string_equal(problem.subject, "");
  assert_string_equal(problem.allowed, "");
  assert_false(problem.has_space);
  assert_int_equal(problem.space.requested_bytes, 0);
}

static void field_names_the_field(void **state) {
  (void)state;
  struct problem problem;
  assert_int_equal(problem_field(&problem, STATUS_UNKNOWN_FIELD, "size", "no field %s", "size"),
                   STATUS_UNKNOWN_FIELD);
  assert_string_equal(problem.field, "size");
  assert_string_equal(problem.text, "no field size");
}

static void what_is_too_long_is_cut(void **state) {
  (void)state;
  struct problem problem;
  char large[1000];
  memset(large, 'a', sizeof large - 1);
  large[sizeof large - 1] = '\0';
  problem_field(&problem, STATUS_UNKNOWN_FIELD, large, "%s", large);
  assert_int_equal(strlen(problem.text), sizeof problem.text - 1);
  assert_int_equal(strlen(problem.field), sizeof problem.field - 1);
}

static void an_older_text_can_be_wrapped(void **state) {
  (void)state;
  struct problem problem;
  problem_field(&problem, STATUS_CONFLICT, "mode", "inner");
  problem_field(&problem, STATUS_CONFLICT, problem.field, "outer: %s", problem.text);
  assert_string_equal(problem.text, "outer: inner");
  assert_string_equal(problem.field, "mode");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(set_formats_and_returns_the_status),
      cmocka_unit_test(set_clears_the_rest),
      cmocka_unit_test(field_names_the_field),
      cmocka_unit_test(what_is_too_long_is_cut),
      cmocka_unit_test(an_older_text_can_be_wrapped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
