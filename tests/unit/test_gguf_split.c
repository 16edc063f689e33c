/* gguf_split: the files of a set are found by name and judged by what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/gguf_split.h"

static enum status judge(const struct gguf_split *splits, uint32_t n, const char *because) {
  struct problem problem = {0};
  enum status status = gguf_split_check(splits, n, &problem);
  if (status && !strstr(problem.text, because))
    fail_msg("\"%s\" is not in \"%s\"", because, problem.text);
  return status;
}

static void a_whole_set_is_complete_in_any_order(void **state) {
  (void)state;
  const struct gguf_split set[] = {{2, 3, 4, 9}, {0, 3, 0, 9}, {1, 3, 5, 9}};
  assert_int_equal(STATUS_OK, judge(set, 3, ""));
}

static void one_file_is_complete_alone(void **state) {
  (void)state;
  assert_int_equal(STATUS_OK, judge(&(struct gguf_split){0, 0, 7, 0}, 1, ""));
  assert_int_equal(STATUS_OK, judge(&(struct gguf_split){0, 1, 7, 7}, 1, ""));
}

static void what_a_set_may_lack_or_have_twice(void **state) {
  (void)state;
  const struct {
    struct gguf_split set[3];
    uint32_t n;
    const char *because;
  } cases[] = {
      {{{0, 3, 3, 9}}, 1, "split into 3 files, 1"},
      {{{0, 3, 3, 9}, {1, 3, 3, 9}}, 2, "split into 3 files, 2"},
      {{{0, 0, 3, 0}, {0, 0, 3, 0}}, 2, "split into 1 files, 2"},
      {{{0, 3, 3, 9}, {1, 3, 3, 9}, {1, 3, 3, 9}}, 3, "split.no 1"},
      {{{0, 3, 3, 9}, {1, 3, 3, 9}, {0, 0, 3, 0}}, 3, "file 3 of 3 is of another set"},
      {{{0, 3, 3, 9}, {1, 3, 3, 8}, {2, 3, 3, 9}}, 3, "file 2 of 3 is of another set"},
      {{{0, 3, 3, 9}, {1, 3, 3, 9}, {2, 3, 2, 9}}, 3, "9 tensors, in its files are 8"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(STATUS_MODEL_FORMAT_INVALID,
                     judge(cases[i].set, cases[i].n, cases[i].because));
  assert_int_equal(STATUS_MODEL_FORMAT_INVALID, judge(NULL, 0, "0 are here"));
}

static void names_of_a_set_lead_to_each_other(void **state) {
  (void)state;
  const char *name = "llama-70B-00001-of-00012.gguf";
  char out[TEXT_FILE_NAME + 1];
  uint32_t no, count;
  assert_true(gguf_split_place(name, strlen(name), &no, &count));
  assert_int_equal(0, no);
  assert_int_equal(12, count);
  assert_true(gguf_split_name(name, strlen(name), 11, out));
  assert_string_equal("llama-70B-00012-of-00012.gguf", out);
  assert_true(gguf_split_name(out, strlen(out), 0, out)); /* in place */
  assert_string_equal(name, out);
  assert_false(gguf_split_name(name, strlen(name), 12, out));
}

static void other_names_give_no_place(void **state) {
  (void)state;
  static const char *const names[] = {
      "",
      "model.gguf",
      "-00001-of-00002.gguf",
      "m-00000-of-00002.gguf",
      "m-00003-of-00002.gguf",
      "m-00001-of-01025.gguf",
      "m-0001-of-0002.gguf",
      "m-00001-of-0000x.gguf",
      "m-+0001-of-00002.gguf",
      "m-00001-of-00002.GGUF",
      "m_00001-of-00002.gguf",
      "m-00001_of_00002.gguf",
      "m-00001-of-00002.gguf.part",
  };
  uint32_t no, count;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    assert_false(gguf_split_place(names[i], strlen(names[i]), &no, &count));
  char name[300], out[TEXT_FILE_NAME + 1];
  snprintf(name, sizeof name, "%0256d-00001-of-00002.gguf", 0);
  assert_false(gguf_split_name(name, strlen(name), 1, out));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_whole_set_is_complete_in_any_order),
      cmocka_unit_test(one_file_is_complete_alone),
      cmocka_unit_test(what_a_set_may_lack_or_have_twice),
      cmocka_unit_test(names_of_a_set_lead_to_each_other),
      cmocka_unit_test(other_names_give_no_place),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
