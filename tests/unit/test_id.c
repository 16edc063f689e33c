/* id: one form only, and correlation ids that never repeat, also across threads. */
#include "base/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define THREADS 4
#define PER_THREAD 5000

static void an_id_has_one_form(void **state) {
  (void)state;
  char text[ID_SIZE];
  assert_ptr_equal(id_format(ID_ALLOCATION, 0x1f0c000000000042, text), text);
  assert_string_equal(text, "a-1f0c000000000042");
}

static void ids_read_back(void **state) {
  (void)state;
  const uint64_t ids[] = {1, 0x1f0c000000000042, UINT64_MAX, 0x0123456789abcdef};
  char text[ID_SIZE];
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
    assert_true(id_parse(ID_JOB, id_format(ID_JOB, ids[i], text)) == ids[i]);
}

static void anything_else_is_no_id(void **state) {
  (void)state;
  const char *const texts[] = {
      "",
      "a",
      "a-",
      "j-1f0c000000000042",
      "a-1f0c00000000004",
      "a-1f0c0000000000421",
      "a-1F0C000000000042",
      "a_1f0c000000000042",
      "a-1f0c00000000004g",
      "a-0x0c000000000042",
      "a- 1f0c00000000004",
      "a-0000000000000000",
      " a-1f0c000000000042",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    assert_true(id_parse(ID_ALLOCATION, texts[i]) == 0);
  assert_true(id_parse(ID_ALLOCATION, NULL) == 0);
}

static void random_ids_differ(void **state) {
  (void)state;
  assert_true(id_random() != id_random());
}

static void *draw(void *arg) {
  char(*ids)[17] = arg;
  for (int i = 0; i < PER_THREAD; i++)
    id_correlation(ids[i]);
  return NULL;
}

static int compare(const void *a, const void *b) { return strcmp(a, b); }

static void correlation_ids_never_repeat(void **state) {
  (void)state;
  static char ids[THREADS * PER_THREAD][17];
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, draw, ids + (ptrdiff_t)i * PER_THREAD), 0);
  for (int i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
  qsort(ids, THREADS * PER_THREAD, sizeof *ids, compare);
  for (int i = 0; i < THREADS * PER_THREAD; i++) {
    assert_int_equal(strspn(ids[i], "0123456789abcdef"), 16);
    if (i)
      assert_true(strcmp(ids[i - 1], ids[i]) != 0);
  }
}

static void a_token_is_1_to_64_safe_characters(void **state) {
  (void)state;
  char text[66];
  memset(text, 'x', sizeof text);
  text[64] = '\0';
  assert_true(id_is_token(text));
  assert_true(id_is_token("AZaz09._-"));
  text[64] = 'x';
  text[65] = '\0';
  assert_false(id_is_token(text));
  assert_false(id_is_token(""));
  assert_false(id_is_token(NULL));
  assert_false(id_is_token("a b"));
  assert_false(id_is_token("a\n"));
  assert_false(id_is_token("\xc3\xa9"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_id_has_one_form),
      cmocka_unit_test(ids_read_back),
      cmocka_unit_test(anything_else_is_no_id),
      cmocka_unit_test(random_ids_differ),
      cmocka_unit_test(correlation_ids_never_repeat),
      cmocka_unit_test(a_token_is_1_to_64_safe_characters),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
