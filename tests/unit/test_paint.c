/* cli/paint: sentences that go on in the next line. */
#include "cli/paint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_words(const char *text, struct paint_place place, const char *wanted) {
  char *got = NULL;
  size_t size;
  FILE *out = open_memstream(&got, &size);
  assert_non_null(out);
  paint_words(out, text, place);
  fclose(out);
  assert_string_equal(wanted, got);
  free(got);
}

static void words_go_on_below_the_first(void **state) {
  (void)state;
  assert_words("one two three", (struct paint_place){4, 4, 11}, "one two\n    three");
  assert_words("one two three", (struct paint_place){4, 4, 80}, "one two three");
  assert_words("", (struct paint_place){4, 4, 80}, "");
}

static void a_word_that_is_too_long_stays_whole(void **state) {
  (void)state;
  assert_words("a-very-long-word b", (struct paint_place){2, 2, 8}, "a-very-long-word\n  b");
}

static void what_stands_before_has_a_space_behind_it(void **state) {
  (void)state;
  assert_words("one two", (struct paint_place){0, 5, 9}, " one\ntwo");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(words_go_on_below_the_first),
      cmocka_unit_test(a_word_that_is_too_long_stays_whole),
      cmocka_unit_test(what_stands_before_has_a_space_behind_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
