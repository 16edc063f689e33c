/* gguf: what a header must not say is refused, and the problem says where it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "gguf_fixture.h"

static void is_refused_tensor(const struct gguf_fixture_tensor *tensor, const char *because) {
  struct buf file;
  gguf_fixture_begin(&file, 1, 0);
  gguf_fixture_put_tensor(&file, tensor);
  gguf_fixture_put_weights(&file, 32, 4096);
  gguf_fixture_is_refused(&file, because);
}

static void other_files_are_refused(void **state) {
  (void)state;
  static const struct {
    uint32_t version;
    const char *because;
  } cases[] = {{0, "version 0"}, {1, "version 1"}, {4, "version 4"}, {0x03000000, "big-endian"}};
  struct buf file;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    buf_init(&file, MIB);
    buf_add(&file, "GGUF", 4);
    gguf_fixture_put(&file, 4, cases[i].version);
    gguf_fixture_is_refused(&file, cases[i].because);
  }
  buf_init(&file, MIB);
  buf_add(&file, "GGML", 4);
  gguf_fixture_is_refused(&file, "does not begin with GGUF");
}

static void counts_are_held_against_cap_and_file(void **state) {
  (void)state;
  struct buf file;
  struct gguf_fixture_reading got;
  gguf_fixture_begin(&file, 1000001, 0);
  assert_int_equal(STATUS_MODEL_FORMAT_INVALID,
                   gguf_fixture_read_part(&file, 24, UINT64_C(1) << 40, &got));
  assert_non_null(strstr(got.problem.text, "1000001 tensors, at most 1000000"));
  buf_done(&file);
  gguf_fixture_begin(&file, UINT64_MAX, 0);
  gguf_fixture_is_refused(&file, "tensors, at most");
  gguf_fixture_begin(&file, 1000000, 0);
  gguf_fixture_is_refused(&file, "announces 1000000 tensors");
  gguf_fixture_begin(&file, 0, 1000001);
  gguf_fixture_is_refused(&file, "metadata pairs, at most");
  gguf_fixture_begin(&file, 0, 1000000);
  gguf_fixture_is_refused(&file, "announces 1000000 metadata pairs");
}

static void lengths_are_held_against_the_file(void **state) {
  (void)state;
  static const uint64_t lengths[] = {5, UINT64_C(1) << 61, UINT64_C(1) << 63, UINT64_MAX};
  static const enum gguf_fixture_value types[] = {U16, F64, STRING, ARRAY};
  struct buf file;
  for (size_t i = 0; i < 4; i++) {
    gguf_fixture_begin(&file, 0, 1);
    gguf_fixture_put_key(&file, "words", STRING);
    gguf_fixture_put(&file, 8, lengths[i]);
    buf_add(&file, "four", 4);
    gguf_fixture_is_refused(&file, "key \"words\"");
    for (size_t t = 0; t < 4; t++) {
      gguf_fixture_begin(&file, 0, 1);
      gguf_fixture_put_key(&file, "list", ARRAY);
      gguf_fixture_put_array(&file, types[t], lengths[i]);
      buf_add(&file, "four", 4);
      gguf_fixture_is_refused(&file, "key \"list\"");
    }
    gguf_fixture_begin(&file, 0, 1);
    gguf_fixture_put(&file, 8, lengths[i]);
    buf_add(&file, "four----------", 4);
    buf_add(&file, "----------", i ? 10 : 0);
    gguf_fixture_is_refused(&file, i ? "metadata pair 1" : "announces");
  }
}

static void keys_that_are_none_are_refused(void **state) {
  (void)state;
  struct buf file;
  char *key = calloc(1, 65537);
  memset(key, 'k', 65536);
  gguf_fixture_begin(&file, 0, 1);
  gguf_fixture_put_u32(&file, key, 1);
  gguf_fixture_is_refused(&file, "65536 bytes");
  gguf_fixture_begin(&file, 0, 1);
  gguf_fixture_put_u32(&file, key + 1, 1);
  struct gguf_fixture_reading got;
  assert_int_equal(STATUS_OK, gguf_fixture_read(&file, &got));
  free(got.image);
  buf_done(&file);
  free(key);
  gguf_fixture_begin(&file, 0, 1);
  gguf_fixture_put_u32(&file, "", 1);
  buf_add(&file, "-", 1);
  gguf_fixture_is_refused(&file, "empty key");
  gguf_fixture_begin(&file, 0, 1);
  gguf_fixture_put_u32(&file, "k\xff", 1);
  gguf_fixture_is_refused(&file, "UTF-8");
  gguf_fixture_begin(&file, 0, 1);
  gguf_fixture_put_key(&file, "k", VALUES);
  gguf_fixture_put(&file, 8, 0);
  gguf_fixture_is_refused(&file, "key \"k\" has values of the type 13");
  gguf_fixture_begin(&file, 0, 3);
  gguf_fixture_put_u32(&file, "twin", 1);
  gguf_fixture_put_u32(&file, "other", 1);
  gguf_fixture_put_string(&file, "twin", "1");
  gguf_fixture_is_refused(&file, "key \"twin\" is there twice");
}

static void arrays_nest_four_deep(void **state) {
  (void)state;
  for (unsigned depth = 4; depth <= 5; depth++) {
    struct buf file;
    struct gguf_fixture_reading got;
    gguf_fixture_begin(&file, 0, 1);
    gguf_fixture_put_key(&file, "deep", ARRAY);
    for (unsigned i = 1; i < depth; i++)
      gguf_fixture_put_array(&file, ARRAY, 1);
    gguf_fixture_put_array(&file, U8, 1);
    gguf_fixture_put(&file, 1, 1);
    if (depth == 5) {
      gguf_fixture_is_refused(&file, "over 4 deep");
      continue;
    }
    assert_int_equal(STATUS_OK, gguf_fixture_read(&file, &got));
    free(got.image);
    buf_done(&file);
  }
}

static void alignments_are_powers_of_two(void **state) {
  (void)state;
  static const struct {
    uint32_t value;
    bool good;
  } cases[] = {{0, false},  {1, false},      {4, false},          {24, false},
               {8, true},   {1048576, true}, {2097152, false},    {0x80000000, false},
               {33, false}, {128, true},     {UINT32_MAX, false}, {96, false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct buf file;
    struct gguf_fixture_reading got;
    gguf_fixture_begin(&file, 1, 1);
    gguf_fixture_put_u32(&file, "general.alignment", cases[i].value);
    gguf_fixture_put_tensor(&file, &(struct gguf_fixture_tensor){"a", 1, {8}, GGML_F32, 0});
    gguf_fixture_put_weights(&file, cases[i].good ? cases[i].value : 32, 32);
    if (!cases[i].good) {
      gguf_fixture_is_refused(&file, "general.alignment");
      continue;
    }
    assert_int_equal(STATUS_OK, gguf_fixture_read(&file, &got));
    assert_int_equal(0, got.card.tensors[0].offset % cases[i].value);
    free(got.image);
    buf_done(&file);
  }
}

static void kept_values_have_their_kind(void **state) {
  (void)state;
  struct buf file;
  gguf_fixture_begin(&file, 1, 1);
  gguf_fixture_put_string(&file, "general.alignment", "32");
  gguf_fixture_finish(&file);
  gguf_fixture_is_refused(&file, "must be an integer");
  gguf_fixture_begin(&file, 1, 1);
  gguf_fixture_put_u32(&file, "general.name", 32);
  gguf_fixture_finish(&file);
  gguf_fixture_is_refused(&file, "must be a string");
  gguf_fixture_begin(&file, 1, 1);
  gguf_fixture_put_string(&file, "general.name", "\xc3");
  gguf_fixture_finish(&file);
  gguf_fixture_is_refused(&file, "UTF-8");
  gguf_fixture_begin(&file, 1, 1);
  gguf_fixture_put_key(&file, "split.tensors.count", I32);
  gguf_fixture_put(&file, 4, UINT32_MAX);
  gguf_fixture_finish(&file);
  gguf_fixture_is_refused(&file, "negative");
  gguf_fixture_begin(&file, 1, 1);
  gguf_fixture_put_u32(&file, "split.no", 1);
  gguf_fixture_finish(&file);
  gguf_fixture_is_refused(&file, "split.no");
  gguf_fixture_begin(&file, 1, 1);
  gguf_fixture_put_u32(&file, "split.count", 1025);
  gguf_fixture_finish(&file);
  gguf_fixture_is_refused(&file, "at most 1024");
}

static void tensors_that_cannot_be_are_refused(void **state) {
  (void)state;
  const uint64_t huge = UINT64_C(1) << 62;
  const struct {
    struct gguf_fixture_tensor tensor;
    const char *because;
  } cases[] = {
      {{"t", 1, {33}, GGML_Q4_0, 0}, "no whole blocks of Q4_0"},
      {{"t", 2, {128, 2}, GGML_Q6_K, 0}, "no whole blocks of Q6_K"},
      {{"t", 1, {32}, GGML_REMOVED, 0}, "ggml type 4"},
      {{"t", 1, {32}, 0xffffffff, 0}, "ggml type 4294967295"},
      {{"t", 1, {UINT64_MAX}, GGML_F32, 0}, "dimension of"},
      {{"t", 2, {huge, 4}, GGML_F32, 0}, "tensor \"t\" has"},
      {{"t", 4, {huge, huge, huge, huge}, GGML_F32, 0}, "tensor \"t\" has"},
      {{"t", 1, {8}, GGML_F32, 4}, "multiple of the alignment 32"},
      {{"t", 1, {1024}, GGML_F32, 32}, "goes beyond the file's"},
      {{"t", 1, {8}, GGML_F32, UINT64_MAX - 31}, "goes beyond the file's"},
      {{"t", 1, {8}, GGML_F32, huge}, "goes beyond the file's"},
      {{"\xff", 1, {8}, GGML_F32, 0}, "UTF-8"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    is_refused_tensor(&cases[i].tensor, cases[i].because);
  struct buf file;
  gguf_fixture_begin(&file, 1, 0);
  gguf_fixture_put_text(&file, "five");
  gguf_fixture_put(&file, 4, 5);
  gguf_fixture_put_weights(&file, 32, 4096);
  gguf_fixture_is_refused(&file, "tensor \"five\" has 5 dimensions");
}

static void two_tensors_share_neither_name_nor_bytes(void **state) {
  (void)state;
  struct buf file;
  gguf_fixture_begin(&file, 2, 0);
  gguf_fixture_put_tensor(&file, &(struct gguf_fixture_tensor){"left", 1, {16}, GGML_F32, 0});
  gguf_fixture_put_tensor(&file, &(struct gguf_fixture_tensor){"right", 1, {8}, GGML_F32, 32});
  gguf_fixture_put_weights(&file, 32, 64);
  gguf_fixture_is_refused(&file, "right");
  gguf_fixture_begin(&file, 2, 0);
  gguf_fixture_put_tensor(&file, &(struct gguf_fixture_tensor){"same", 1, {8}, GGML_F32, 0});
  gguf_fixture_put_tensor(&file, &(struct gguf_fixture_tensor){"same", 1, {8}, GGML_F32, 32});
  gguf_fixture_put_weights(&file, 32, 64);
  gguf_fixture_is_refused(&file, "same");
}

static void long_names_are_shown_short(void **state) {
  (void)state;
  char name[200];
  memset(name, 'n', sizeof name - 1);
  name[0] = '\n';
  name[sizeof name - 1] = 0;
  struct buf file;
  struct gguf_fixture_reading got;
  gguf_fixture_begin(&file, 1, 0);
  gguf_fixture_put_tensor(&file, &(struct gguf_fixture_tensor){name, 1, {33}, GGML_Q4_0, 0});
  gguf_fixture_put_weights(&file, 32, 64);
  assert_int_equal(STATUS_MODEL_FORMAT_INVALID, gguf_fixture_read(&file, &got));
  assert_null(strchr(got.problem.text, '\n'));
  assert_non_null(strstr(got.problem.text, "33 elements"));
  buf_done(&file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(other_files_are_refused),
      cmocka_unit_test(counts_are_held_against_cap_and_file),
      cmocka_unit_test(lengths_are_held_against_the_file),
      cmocka_unit_test(keys_that_are_none_are_refused),
      cmocka_unit_test(arrays_nest_four_deep),
      cmocka_unit_test(alignments_are_powers_of_two),
      cmocka_unit_test(kept_values_have_their_kind),
      cmocka_unit_test(tensors_that_cannot_be_are_refused),
      cmocka_unit_test(two_tensors_share_neither_name_nor_bytes),
      cmocka_unit_test(long_names_are_shown_short),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
