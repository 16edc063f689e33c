/* fragment: the same bytes give the same text, other bytes none, and no place another's. */
#include "ops/fragment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CAP ((size_t)1 << 20)

static int setup(void **state) {
  *state = fragment_create();
  return *state ? 0 : -1;
}

static int teardown(void **state) {
  fragment_free(*state);
  return 0;
}

static struct fragment_source of(unsigned place, const char *text) {
  return (struct fragment_source){place, text, strlen(text)};
}

/* Whether the source is known, behind a first member; *out gets the whole object. */
static bool recall(struct fragment *fragment, struct fragment_source source,
                   enum writer_names names, struct buf *out) {
  struct writer w;
  buf_reset(out);
  writer_init(&w, out, names);
  writer_object(&w, NULL);
  writer_uint(&w, "first", 1);
  bool known = fragment_recall(fragment, &source, &w);
  writer_uint(&w, "last", 3);
  writer_end(&w);
  return known;
}

/* Keeps {"theSecond":value} for the source, written behind `before` other members. */
static void keep(struct fragment *fragment, struct fragment_source source, enum writer_names names,
                 unsigned before) {
  BUF_CLEANUP struct buf out;
  struct writer w;
  buf_init(&out, CAP);
  writer_init(&w, &out, names);
  writer_object(&w, NULL);
  for (unsigned i = 0; i < before; i++)
    writer_uint(&w, "before", i);
  size_t start = out.size;
  writer_text_n(&w, "theSecond", source.size ? source.data : "", source.size);
  fragment_keep(fragment, &source, &w, start);
}

static void the_same_bytes_give_the_same_text(void **state) {
  BUF_CLEANUP struct buf out;
  buf_init(&out, CAP);
  for (unsigned before = 0; before < 3; before++) {
    keep(*state, of(0, "a"), WRITER_CAMEL, before);
    assert_true(recall(*state, of(0, "a"), WRITER_CAMEL, &out));
    assert_string_equal(buf_text(&out), "{\"first\":1,\"theSecond\":\"a\",\"last\":3}");
  }
}

static void other_bytes_give_none(void **state) {
  BUF_CLEANUP struct buf out;
  buf_init(&out, CAP);
  assert_false(recall(*state, of(0, ""), WRITER_CAMEL, &out));
  keep(*state, of(0, "ab"), WRITER_CAMEL, 0);
  assert_false(recall(*state, of(0, "ac"), WRITER_CAMEL, &out));
  assert_false(recall(*state, of(0, "a"), WRITER_CAMEL, &out));
  assert_false(recall(*state, of(0, "abc"), WRITER_CAMEL, &out));
  assert_string_equal(buf_text(&out), "{\"first\":1,\"last\":3}");
}

static void nothing_can_be_a_source(void **state) {
  BUF_CLEANUP struct buf out;
  buf_init(&out, CAP);
  keep(*state, (struct fragment_source){0, NULL, 0}, WRITER_CAMEL, 0);
  assert_true(recall(*state, (struct fragment_source){0, NULL, 0}, WRITER_CAMEL, &out));
  assert_string_equal(buf_text(&out), "{\"first\":1,\"theSecond\":\"\",\"last\":3}");
}

static void what_is_kept_later_stands_in_its_place(void **state) {
  BUF_CLEANUP struct buf out;
  buf_init(&out, CAP);
  keep(*state, of(1, "old"), WRITER_CAMEL, 0);
  keep(*state, of(1, "new"), WRITER_CAMEL, 0);
  assert_false(recall(*state, of(1, "old"), WRITER_CAMEL, &out));
  assert_true(recall(*state, of(1, "new"), WRITER_CAMEL, &out));
}

static void places_and_names_are_apart(void **state) {
  BUF_CLEANUP struct buf out;
  buf_init(&out, CAP);
  keep(*state, of(FRAGMENT_HOST, "a"), WRITER_SNAKE, 1);
  assert_false(recall(*state, of(0, "a"), WRITER_SNAKE, &out));
  assert_false(recall(*state, of(FRAGMENT_HOST, "a"), WRITER_CAMEL, &out));
  assert_true(recall(*state, of(FRAGMENT_HOST, "a"), WRITER_SNAKE, &out));
  assert_string_equal(buf_text(&out), "{\"first\":1,\"the_second\":\"a\",\"last\":3}");
}

static void what_is_too_large_is_not_kept(void **state) {
  static char large[sizeof(struct view_host) + 1];
  BUF_CLEANUP struct buf out;
  buf_init(&out, CAP);
  memset(large, 'x', sizeof large);
  const struct fragment_source source = {0, large, sizeof large};
  keep(*state, of(0, "a"), WRITER_CAMEL, 0);
  keep(*state, source, WRITER_CAMEL, 0);
  assert_false(recall(*state, source, WRITER_CAMEL, &out));
  assert_false(recall(*state, of(0, "a"), WRITER_CAMEL, &out));
}

static void what_failed_is_not_kept(void **state) {
  BUF_CLEANUP struct buf small, out;
  struct writer w;
  buf_init(&small, 4);
  buf_init(&out, CAP);
  writer_init(&w, &small, WRITER_CAMEL);
  writer_object(&w, NULL);
  writer_text(&w, "much", "too much");
  assert_true(small.failed);
  const struct fragment_source source = of(0, "a");
  fragment_keep(*state, &source, &w, 1);
  assert_false(recall(*state, source, WRITER_CAMEL, &out));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_same_bytes_give_the_same_text), TEST(other_bytes_give_none),
      TEST(nothing_can_be_a_source),           TEST(what_is_kept_later_stands_in_its_place),
      TEST(places_and_names_are_apart),        TEST(what_is_too_large_is_not_kept),
      TEST(what_failed_is_not_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
