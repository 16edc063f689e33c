/* status: every row answers every question, and no value or word is unsafe. */
#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_code_reads_back(void **state) {
  (void)state;
  for (int i = 0; i < STATUS_COUNT; i++)
    assert_int_equal(status_parse(status_code((enum status)i)), i);
}

static void every_row_is_a_sensible_answer(void **state) {
  (void)state;
  for (int i = 0; i < STATUS_COUNT; i++) {
    int http = status_http((enum status)i);
    const char *text = status_text((enum status)i);
    assert_in_range(http, i <= STATUS_PENDING ? 200 : 400, i <= STATUS_PENDING ? 299 : 599);
    assert_true(*text && text[strlen(text) - 1] != '.');
  }
}

static void a_row_keeps_its_columns(void **state) {
  (void)state;
  assert_string_equal(status_code(STATUS_ALLOCATION_TOO_LARGE), "ALLOCATION_TOO_LARGE");
  assert_int_equal(status_http(STATUS_ALLOCATION_TOO_LARGE), 507);
  assert_false(status_retryable(STATUS_ALLOCATION_TOO_LARGE));
  assert_true(status_retryable(STATUS_INSUFFICIENT_MEMORY));
}

static void a_foreign_value_is_an_internal_error(void **state) {
  (void)state;
  assert_string_equal(status_code(STATUS_COUNT), "INTERNAL_ERROR");
  assert_string_equal(status_code((enum status) - 1), "INTERNAL_ERROR");
  assert_int_equal(status_http((enum status)4711), 500);
}

static void a_foreign_word_is_an_internal_error(void **state) {
  (void)state;
  assert_int_equal(status_parse("NO_SUCH"), STATUS_INTERNAL_ERROR);
  assert_int_equal(status_parse("not_found"), STATUS_INTERNAL_ERROR);
  assert_int_equal(status_parse(""), STATUS_INTERNAL_ERROR);
  assert_int_equal(status_parse(NULL), STATUS_INTERNAL_ERROR);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_code_reads_back),
      cmocka_unit_test(every_row_is_a_sensible_answer),
      cmocka_unit_test(a_row_keeps_its_columns),
      cmocka_unit_test(a_foreign_value_is_an_internal_error),
      cmocka_unit_test(a_foreign_word_is_an_internal_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
