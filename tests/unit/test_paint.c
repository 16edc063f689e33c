/* cli/paint: sentences that go on in the next line, and what may not reach a terminal. */
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

static void nothing_steers_the_terminal(void **state) {
  (void)state;
  /* An escape, DEL, the one-character CSI, an override of the direction; and what may stay. */
  static const char text[] = "{\"label\":\"a\\u001b[31m\\u007f\\u009b2J\\u202eb \\u00e9\\u65e5\"}";
  struct reader_doc *doc;
  struct problem problem;
  char out[64];
  assert_int_equal(STATUS_OK, reader_parse(text, sizeof text - 1, &doc, &problem));
  assert_string_equal("a?[31m???2J???b \xc3\xa9\xe6\x97\xa5",
                      paint_text(reader_root(doc), "label", out, sizeof out));
  reader_free(doc);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(words_go_on_below_the_first),
      cmocka_unit_test(a_word_that_is_too_long_stays_whole),
      cmocka_unit_test(what_stands_before_has_a_space_behind_it),
      cmocka_unit_test(nothing_steers_the_terminal),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
