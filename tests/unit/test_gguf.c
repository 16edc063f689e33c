/* gguf: what a header says is what the card has, and what is not all there is asked for. */
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

/* Every type of value, arrays of all kinds, three tensors. */
static void rich(struct buf *file, uint32_t version) {
  static const unsigned sizes[VALUES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  gguf_fixture_begin(file, 3, VALUES + 6);
  file->data[4] = (char)version;
  for (enum gguf_fixture_value type = U8; type < VALUES; type++) {
    char key[16];
    snprintf(key, sizeof key, "k.%d", (int)type);
    gguf_fixture_put_key(file, key, type);
    if (type == STRING)
      gguf_fixture_put_text(file, "text");
    else if (type == ARRAY)
      gguf_fixture_put_array(file, U16, 0);
    gguf_fixture_put(file, sizes[type], 1);
  }
  gguf_fixture_put_string(file, "general.architecture", "llama");
  gguf_fixture_put_string(file, "general.name", "Gr\xc3\xb6n");
  gguf_fixture_put_u32(file, "general.alignment", 64);
  gguf_fixture_put_key(file, "tokens", ARRAY);
  gguf_fixture_put_array(file, STRING, 2);
  gguf_fixture_put_text(file, "one");
  gguf_fixture_put_text(file, "");
  gguf_fixture_put_key(file, "numbers", ARRAY);
  gguf_fixture_put_array(file, F64, 3);
  gguf_fixture_put(file, 8, 0), gguf_fixture_put(file, 8, 0), gguf_fixture_put(file, 8, 0);
  gguf_fixture_put_key(file, "nested", ARRAY);
  gguf_fixture_put_array(file, ARRAY, 2);
  gguf_fixture_put_array(file, U8, 1);
  gguf_fixture_put(file, 1, 7);
  gguf_fixture_put_array(file, STRING, 1);
  gguf_fixture_put_text(file, "x");
  gguf_fixture_put_tensor(
      file, &(struct gguf_fixture_tensor){"token_embd.weight", 2, {64, 3}, GGML_Q4_0, 0});
  gguf_fixture_put_tensor(file,
                          &(struct gguf_fixture_tensor){"blk.0.w", 4, {2, 3, 4, 5}, GGML_F16, 128});
  gguf_fixture_put_tensor(file, &(struct gguf_fixture_tensor){"scale", 0, {0}, GGML_F32, 384});
  gguf_fixture_put_weights(file, 64, 388);
}

static void a_file_becomes_a_card(void **state) {
  (void)state;
  for (uint32_t version = 2; version <= 3; version++) {
    struct buf file;
    struct gguf_fixture_reading got;
    rich(&file, version);
    assert_int_equal(STATUS_OK, gguf_fixture_read(&file, &got));
    uint64_t data = file.size - 388;
    assert_int_equal(version, got.found.version);
    assert_int_equal(64, got.found.alignment);
    assert_int_equal(data, units_up(got.found.header_bytes, 64));
    assert_string_equal("llama", got.found.architecture);
    assert_string_equal("Gr\xc3\xb6n", got.found.name);
    assert_int_equal(0, got.found.split.count);
    assert_int_equal(3, got.card.head->tensors);
    assert_int_equal(data, got.card.files[0].data_offset);
    const struct card_tensor *tensor = got.card.tensors;
    assert_int_equal(CARD_DTYPE_Q4_0, tensor[0].dtype);
    assert_int_equal(6 * 18, tensor[0].size);
    assert_int_equal(data, tensor[0].offset);
    assert_int_equal(3, got.card.dimensions[tensor[0].shape]); /* outermost first */
    assert_int_equal(64, got.card.dimensions[tensor[0].shape + 1]);
    assert_int_equal(240, tensor[1].size);
    assert_int_equal(data + 128, tensor[1].offset);
    assert_int_equal(5, got.card.dimensions[tensor[1].shape]);
    assert_int_equal(0, tensor[2].rank);
    assert_int_equal(4, tensor[2].size);
    assert_memory_equal("scale", got.card.text + tensor[2].name, 5);
    free(got.image);
    buf_done(&file);
  }
}

/* Bytes of 256 elements (ggml's blocks are at most that long); 0: the type must be refused. */
static uint64_t bytes_of_256(uint32_t type) {
  static const uint16_t bytes[] = {1024, 512, 144, 160, 0,    0,    176,  192, 272, 288, 84,
                                   110,  144, 176, 210, 292,  66,   74,   98,  50,  144, 110,
                                   82,   136, 256, 512, 1024, 2048, 2048, 56,  512, 0,   0,
                                   0,    54,  66,  0,   0,    0,    136,  144, 36,  72};
  return type < sizeof bytes / sizeof *bytes ? bytes[type] : 0;
}

static void every_type_of_ggml_has_its_size(void **state) {
  (void)state;
  for (uint32_t type = 0; type < 300; type++) {
    struct buf file;
    struct gguf_fixture_reading got;
    uint64_t bytes = bytes_of_256(type);
    gguf_fixture_begin(&file, 1, 0);
    gguf_fixture_put_tensor(&file, &(struct gguf_fixture_tensor){"t", 1, {256}, type, 0});
    gguf_fixture_put_weights(&file, 32, bytes ? bytes : 4096);
    if (!bytes) {
      gguf_fixture_is_refused(&file, "ggml type");
      continue;
    }
    assert_int_equal(STATUS_OK, gguf_fixture_read(&file, &got));
    assert_int_equal(bytes, got.card.tensors[0].size);
    free(got.image);
    buf_done(&file);
  }
}

/* Vocabularies are such files; gguf-split makes first ones like it. */
static void a_file_of_metadata_only_is_one(void **state) {
  (void)state;
  struct buf file;
  struct gguf_fixture_reading got;
  gguf_fixture_begin(&file, 0, 1);
  gguf_fixture_put_u32(&file, "x", 1);
  assert_int_equal(STATUS_OK, gguf_fixture_read(&file, &got));
  assert_int_equal(0, got.card.head->tensors);
  free(got.image);
  buf_done(&file);
}

/* gguf-split writes two numbers of 16 bits and a signed one. */
static void a_part_says_its_place_in_the_set(void **state) {
  (void)state;
  struct buf file;
  struct gguf_fixture_reading got;
  gguf_fixture_begin(&file, 1, 3);
  gguf_fixture_put_key(&file, "split.no", U16);
  gguf_fixture_put(&file, 2, 2);
  gguf_fixture_put_key(&file, "split.count", U16);
  gguf_fixture_put(&file, 2, 5);
  gguf_fixture_put_key(&file, "split.tensors.count", I32);
  gguf_fixture_put(&file, 4, 291);
  gguf_fixture_finish(&file);
  assert_int_equal(STATUS_OK, gguf_fixture_read(&file, &got));
  assert_int_equal(2, got.found.split.no);
  assert_int_equal(5, got.found.split.count);
  assert_int_equal(291, got.found.split.said_tensors);
  assert_int_equal(1, got.found.split.own_tensors);
  free(got.image);
  buf_done(&file);
}

static void long_words_are_cut_between_characters(void **state) {
  (void)state;
  struct buf file;
  struct gguf_fixture_reading got;
  char name[300] = "x";
  while (strlen(name) < 299)
    strcat(name, "\xc3\xb6");
  gguf_fixture_begin(&file, 1, 1);
  gguf_fixture_put_string(&file, "general.name", name);
  gguf_fixture_finish(&file);
  assert_int_equal(STATUS_OK, gguf_fixture_read(&file, &got));
  assert_int_equal(255, strlen(got.found.name));
  free(got.image);
  buf_done(&file);
  gguf_fixture_begin(&file, 1, 1);
  gguf_fixture_put_string(&file, "general.name", name + 1);
  gguf_fixture_finish(&file);
  assert_int_equal(STATUS_OK, gguf_fixture_read(&file, &got));
  assert_int_equal(254, strlen(got.found.name));
  free(got.image);
  buf_done(&file);
}

/* ---- what is not all there ---- */

static void a_prefix_says_how_much_more(void **state) {
  (void)state;
  struct buf file;
  struct gguf_fixture_reading got;
  rich(&file, 3);
  assert_int_equal(STATUS_OK, gguf_fixture_read(&file, &got));
  size_t header = got.found.header_bytes;
  free(got.image);
  for (size_t n = 0; n < header; n++) {
    assert_int_equal(STATUS_PENDING, gguf_fixture_read_part(&file, n, file.size, &got));
    assert_true(got.found.need > n && got.found.need <= header);
    assert_int_equal(STATUS_MODEL_FORMAT_INVALID, gguf_fixture_read_part(&file, n, n, &got));
    assert_true(got.problem.text[0]);
  }
  assert_int_equal(STATUS_OK, gguf_fixture_read_part(&file, header, file.size, &got));
  free(got.image);
  for (size_t n = header; n < file.size; n++)
    assert_int_equal(STATUS_MODEL_FORMAT_INVALID, gguf_fixture_read_part(&file, n, n, &got));
  buf_done(&file);
}

/* Each answer gets the caller further, so that asking again comes to an end. */
static void following_the_needs_ends(void **state) {
  (void)state;
  struct buf file;
  struct gguf_fixture_reading got = {0};
  rich(&file, 3);
  unsigned asked = 0;
  enum status status;
  while ((status = gguf_fixture_read_part(&file, got.found.need, file.size, &got)) ==
         STATUS_PENDING)
    assert_true(asked++ < 200);
  assert_int_equal(STATUS_OK, status);
  free(got.image);
  buf_done(&file);
}

static void an_endless_header_gguf_fixture_is_refused(void **state) {
  (void)state;
  struct buf file;
  struct gguf_fixture_reading got;
  gguf_fixture_begin(&file, 1, 1);
  gguf_fixture_put_key(&file, "k", STRING);
  gguf_fixture_put(&file, 8, GGUF_HEADER_BYTES);
  gguf_fixture_put_tensor(&file, &(struct gguf_fixture_tensor){"a", 1, {8}, GGML_F32, 0});
  assert_int_equal(STATUS_MODEL_FORMAT_INVALID,
                   gguf_fixture_read_part(&file, file.size, UINT64_C(1) << 40, &got));
  buf_done(&file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_file_becomes_a_card),
      cmocka_unit_test(every_type_of_ggml_has_its_size),
      cmocka_unit_test(a_file_of_metadata_only_is_one),
      cmocka_unit_test(a_part_says_its_place_in_the_set),
      cmocka_unit_test(long_words_are_cut_between_characters),
      cmocka_unit_test(a_prefix_says_how_much_more),
      cmocka_unit_test(following_the_needs_ends),
      cmocka_unit_test(an_endless_header_gguf_fixture_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
