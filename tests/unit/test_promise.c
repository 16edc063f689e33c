/* promise: what a worker's word is worth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "service/promise.h"

static uint64_t expected(const struct promise_book *book, const char *worker, uint64_t bytes) {
  struct promise promise = promise_of(book, worker);
  return promise_scale(&promise, bytes);
}

static void a_word_is_worth_what_was_given(void **state) {
  (void)state;
  struct promise_book book = {.next = 0};
  assert_int_equal(expected(&book, "a", 1000), 1000);
  promise_note(&book, "a", 100, 25);
  assert_int_equal(expected(&book, "a", 1000), 250);
  assert_int_equal(expected(&book, "b", 1000), 1000);
  for (unsigned i = 0; i < 10; i++)
    promise_note(&book, "a", 100, 100);
  assert_in_range(expected(&book, "a", 1000), 995, 1000);
  promise_note(&book, "b", 100, 900); /* somebody else's, or modesty */
  assert_int_equal(expected(&book, "b", 1000), 1000);
  promise_note(&book, "c", 100, 0);
  assert_int_equal(expected(&book, "c", UINT64_MAX), 0);
  promise_note(&book, "d", 0, 0); /* nothing was promised */
  assert_int_equal(expected(&book, "d", 7), 7);
}

static void who_broke_it_is_known_until_he_keeps_one(void **state) {
  (void)state;
  struct promise_book book = {.next = 0};
  assert_false(promise_of(&book, "a").broken);
  assert_true(promise_note(&book, "a", 100, 74));
  assert_true(promise_of(&book, "a").broken);
  assert_false(promise_note(&book, "a", 0, 0));
  assert_true(promise_of(&book, "a").broken);
  assert_false(promise_note(&book, "a", 100, 75));
  assert_false(promise_of(&book, "a").broken);
}

static void the_book_has_an_end(void **state) {
  (void)state;
  struct promise_book book = {.next = 0};
  char name[40];
  promise_note(&book, "first", 100, 0);
  for (unsigned i = 0; i < VIEW_WORKERS; i++) {
    snprintf(name, sizeof name, "w%u", i);
    promise_note(&book, name, 100, 50);
  }
  assert_int_equal(expected(&book, "first", 100), 100);
  assert_int_equal(expected(&book, name, 100), 50);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_word_is_worth_what_was_given),
      cmocka_unit_test(who_broke_it_is_known_until_he_keeps_one),
      cmocka_unit_test(the_book_has_an_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
