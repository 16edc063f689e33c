#include "http/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct split {
  char text[4096];
  struct path path;
  struct problem problem;
  enum status status;
};

static void split(const char *target, struct split *out) {
  memset(out, 0, sizeof *out);
  snprintf(out->text, sizeof out->text, "%s", target);
  out->status = path_split(out->text, &out->path, &out->problem);
}

static void segments_are_split_before_they_are_decoded(void **state) {
  (void)state;
  struct split s;
  split("/api/st%61tus/cuda%3A0", &s);
  assert_int_equal(s.status, STATUS_OK);
  assert_int_equal(s.path.count, 3);
  assert_string_equal(s.path.segments[0], "api");
  assert_string_equal(s.path.segments[1], "status");
  assert_string_equal(s.path.segments[2], "cuda:0");
  assert_false(s.path.broken);
}

static void the_root_is_one_empty_segment(void **state) {
  (void)state;
  struct split s;
  split("/", &s);
  assert_int_equal(s.status, STATUS_OK);
  assert_int_equal(s.path.count, 1);
  assert_string_equal(s.path.segments[0], "");
}

static void empty_segments_stay(void **state) {
  (void)state;
  struct split s;
  split("/a//b/", &s);
  assert_int_equal(s.path.count, 4);
  assert_string_equal(s.path.segments[1], "");
  assert_string_equal(s.path.segments[3], "");
}

static void what_cannot_be_decoded_stands_as_it_was_sent(void **state) {
  (void)state;
  static const char *const ids[] = {"a%2Fb", "a%2fb", "%00", "a%00b", "%zz", "%2", "%", "%4g"};
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
    struct split s;
    char target[64];
    snprintf(target, sizeof target, "/%%61/%s", ids[i]);
    split(target, &s);
    assert_int_equal(s.status, STATUS_OK);
    assert_true(s.path.broken);
    assert_string_equal(s.path.segments[0], "a");
    assert_string_equal(s.path.segments[1], ids[i]);
  }
}

static void more_segments_than_any_path_has_are_not_looked_at(void **state) {
  (void)state;
  struct split s;
  char target[256] = "";
  for (int i = 0; i < PATH_SEGMENTS + 5; i++)
    strcat(target, "/x");
  split(target, &s);
  assert_int_equal(s.path.count, PATH_SEGMENTS);
}

static void a_query_is_decoded_as_forms_write_it(void **state) {
  (void)state;
  struct split s;
  split("/a?b=1+2%2B%2F%26&c&&d=&%65=f=g", &s);
  assert_int_equal(s.status, STATUS_OK);
  assert_int_equal(s.path.pair_count, 4);
  assert_string_equal(path_query(&s.path, "b"), "1 2+/&");
  assert_string_equal(path_query(&s.path, "c"), "");
  assert_string_equal(path_query(&s.path, "d"), "");
  assert_string_equal(path_query(&s.path, "e"), "f=g");
  assert_null(path_query(&s.path, "f"));
}

static void bad_queries_are_refused(void **state) {
  (void)state;
  static const char *const targets[] = {"/a?b=%zz", "/a?b=%00",   "/a?b=%2",
                                        "/a?%=1",   "/a?b=1&b=1", "/a?b&%62=2"};
  for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
    struct split s;
    split(targets[i], &s);
    assert_int_equal(s.status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(s.path.count, 1);
  }
}

static void a_query_has_a_cap(void **state) {
  (void)state;
  struct split s;
  char target[1024] = "/a?";
  for (int i = 0; i <= PATH_PAIRS; i++)
    snprintf(target + strlen(target), 16, "n%d=1&", i);
  split(target, &s);
  assert_int_equal(s.status, STATUS_INVALID_ARGUMENT);
  assert_int_equal(s.path.pair_count, PATH_PAIRS);
}

static void what_is_no_path_is_refused(void **state) {
  (void)state;
  static const char *const targets[] = {"", "*", "http://localhost/a", "a/b"};
  for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
    struct split s;
    split(targets[i], &s);
    assert_int_equal(s.status, STATUS_INVALID_ARGUMENT);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(segments_are_split_before_they_are_decoded),
      cmocka_unit_test(the_root_is_one_empty_segment),
      cmocka_unit_test(empty_segments_stay),
      cmocka_unit_test(what_cannot_be_decoded_stands_as_it_was_sent),
      cmocka_unit_test(more_segments_than_any_path_has_are_not_looked_at),
      cmocka_unit_test(a_query_is_decoded_as_forms_write_it),
      cmocka_unit_test(bad_queries_are_refused),
      cmocka_unit_test(a_query_has_a_cap),
      cmocka_unit_test(what_is_no_path_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
