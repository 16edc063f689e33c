/* cli/fit: what goes, what is shortened, and what stays whole where a terminal is narrow. */
#include "cli/fit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define GAP 2

/* An id that stays; two columns that may go; a name that may be shortened to 12. */
static void columns_of(struct fit_column out[4]) {
  out[0] = (struct fit_column){.width = 18, .least = 18};
  out[1] = (struct fit_column){.width = 24, .least = 24, .rank = 2};
  out[2] = (struct fit_column){.width = 8, .least = 8, .rank = 1};
  out[3] = (struct fit_column){.width = 30, .least = 12};
}

static void nothing_changes_where_there_is_room(void **state) {
  (void)state;
  struct fit_column columns[4];
  columns_of(columns);
  const size_t whole = 18 + 24 + 8 + 30 + 3 * GAP;
  assert_int_equal(whole, fit_width(columns, 4, GAP));
  fit(columns, 4, GAP, whole);
  assert_int_equal(whole, fit_width(columns, 4, GAP));
  columns_of(columns);
  fit(columns, 4, GAP, SIZE_MAX);
  assert_int_equal(whole, fit_width(columns, 4, GAP));
}

static void text_is_shortened_before_a_column_goes(void **state) {
  (void)state;
  struct fit_column columns[4];
  columns_of(columns);
  fit(columns, 4, GAP, 70);
  assert_int_equal(70, fit_width(columns, 4, GAP));
  assert_int_equal(70 - 18 - 24 - 8 - 3 * GAP, columns[3].width);
  assert_false(columns[1].gone || columns[2].gone);
}

static void the_highest_goes_first_and_text_gets_its_place(void **state) {
  (void)state;
  struct fit_column columns[4];
  columns_of(columns);
  fit(columns, 4, GAP, 60);
  assert_true(columns[1].gone);
  assert_false(columns[2].gone);
  assert_int_equal(60, fit_width(columns, 4, GAP));
  assert_int_equal(60 - 18 - 8 - 2 * GAP, columns[3].width);
}

static void what_never_goes_stays_whole_however_narrow_it_is(void **state) {
  (void)state;
  for (size_t room = 0; room < 40; room++) {
    struct fit_column columns[4];
    columns_of(columns);
    fit(columns, 4, GAP, room);
    assert_false(columns[0].gone || columns[3].gone);
    assert_int_equal(18, columns[0].width);
    assert_in_range(columns[3].width, 12, 30);
  }
}

static void the_widest_text_is_shortened_first(void **state) {
  (void)state;
  struct fit_column columns[] = {{.width = 30, .least = 12}, {.width = 20, .least = 12}};
  fit(columns, 2, GAP, 42);
  assert_int_equal(20, columns[0].width);
  assert_int_equal(20, columns[1].width);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_changes_where_there_is_room),
      cmocka_unit_test(text_is_shortened_before_a_column_goes),
      cmocka_unit_test(the_highest_goes_first_and_text_gets_its_place),
      cmocka_unit_test(what_never_goes_stays_whole_however_narrow_it_is),
      cmocka_unit_test(the_widest_text_is_shortened_first),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
