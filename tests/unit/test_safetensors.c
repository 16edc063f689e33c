/* safetensors: good headers are read as they are meant; every other one is refused with a reason.
 */
#include "model/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

#define MANY 100000

/* What came of a header, in front of so many bytes of weights. */
struct outcome {
  enum status status;
  struct problem problem;
  void *image;
  size_t n;
  struct card card;
};

static struct outcome parse(const char *header, size_t n, uint64_t weights) {
  struct outcome out = {0};
  struct card_builder *builder = NULL;
  char *exact = malloc(n ? n : 1); /* so that a sanitizer sees one byte more */
  assert_non_null(exact);
  memcpy(exact, header, n);
  const struct card_file_new file = {"m.safetensors", 13, SAFETENSORS_START + n + weights, 0};
  assert_int_equal(card_begin(CARD_SAFETENSORS, &builder), STATUS_OK);
  out.status = safetensors_parse(exact, n, &file, builder, &out.problem);
  free(exact);
  if (!out.status)
    out.status = card_end(builder, &out.image, &out.n, &out.problem);
  if (!out.status)
    out.status = card_check(out.image, out.n, &out.card, &out.problem);
  card_free(builder);
  return out;
}

static struct outcome read(const char *header, uint64_t weights) {
  struct outcome out = parse(header, strlen(header), weights);
  if (out.status)
    fail_msg("%s: %s", header, out.problem.text);
  return out;
}

static void refused(const char *header, uint64_t weights, const char *reason) {
  struct outcome out = parse(header, strlen(header), weights);
  if (out.status != STATUS_MODEL_FORMAT_INVALID || out.problem.status != out.status)
    fail_msg("%s: not refused", header);
  if (!strstr(out.problem.text, reason))
    fail_msg("\"%s\" does not say: %s", out.problem.text, reason);
}

struct refusal {
  const char *header, *reason;
};

static void all_refused(const struct refusal *refusals, size_t count, uint64_t weights) {
  for (size_t i = 0; i < count; i++)
    refused(refusals[i].header, weights, refusals[i].reason);
}
#define ALL_REFUSED(list, weights) all_refused(list, sizeof(list) / sizeof *(list), weights)

/* A header of one tensor "a" with these members. */
#define ONE(members) "{\"a\":{" members "}}"
#define U8_4 "\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]"

/* ---- the length ---- */

static enum status need(uint64_t length, uint64_t file_size, uint64_t *out,
                        struct problem *problem) {
  unsigned char start[SAFETENSORS_START];
  for (size_t i = 0; i < sizeof start; i++)
    start[i] = (unsigned char)(length >> 8 * i);
  return safetensors_header(start, sizeof start, file_size, out, problem);
}

static void the_length_of_the_header_is_known_first(void **state) {
  (void)state;
  uint64_t out = 7;
  struct problem problem = {0};
  assert_int_equal(need(0x1234, 1 << 20, &out, &problem), STATUS_OK);
  assert_int_equal(out, 0x1234 + 8);
  assert_int_equal(need(SAFETENSORS_HEADER, SAFETENSORS_HEADER + 8, &out, &problem), STATUS_OK);
  assert_int_equal(out, SAFETENSORS_HEADER + 8);
}

static void a_length_that_cannot_be_is_refused(void **state) {
  (void)state;
  uint64_t out = 7;
  struct problem problem = {0};
  assert_int_equal(need(SAFETENSORS_HEADER, 1000, &out, &problem), STATUS_MODEL_FORMAT_INVALID);
  assert_non_null(strstr(problem.text, "100000000 bytes, the file has only 992"));
  assert_int_equal(need(SAFETENSORS_HEADER + 1, UINT64_MAX, &out, &problem),
                   STATUS_MODEL_FORMAT_INVALID);
  assert_int_equal(need(UINT64_MAX, UINT64_MAX, &out, &problem), STATUS_MODEL_FORMAT_INVALID);
  assert_int_equal(need(0, 7, &out, &problem), STATUS_MODEL_FORMAT_INVALID);
  assert_int_equal(safetensors_header("1234567", 7, 100, &out, &problem),
                   STATUS_MODEL_FORMAT_INVALID);
  assert_int_equal(out, 7);
}

/* ---- good ones ---- */

static void tensors_are_where_the_header_says(void **state) {
  (void)state;
  static const char header[] =
      "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"a \\\"b\\\"\"},\n"
      " \"w\" : {\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},\t"
      "\"b\":{\"data_offsets\":[0,4],\"shape\":[1],\"dtype\":\"F32\"}}   ";
  struct outcome out = read(header, 16);
  const struct card *card = &out.card;
  uint64_t start = SAFETENSORS_START + strlen(header);
  assert_int_equal(card->head->tensors, 2);
  assert_int_equal(card->head->weight_bytes, 16);
  assert_int_equal(card->files[0].data_offset, start);
  assert_memory_equal(card->text + card->tensors[0].name, "w", 1);
  assert_int_equal(card->tensors[0].offset, start + 4);
  assert_int_equal(card->tensors[0].size, 12);
  assert_int_equal(card->tensors[0].rank, 2);
  assert_int_equal(card->dimensions[card->tensors[0].shape], 2);
  assert_int_equal(card->dimensions[card->tensors[0].shape + 1], 3);
  assert_string_equal(card_dtype_name(card->tensors[0].dtype), "BF16");
  assert_int_equal(card->tensors[1].offset, start);
  free(out.image);
}

static void a_model_may_be_empty(void **state) {
  (void)state;
  free(read("{}", 0).image);
  free(read("{ }      ", 0).image);
  free(read("{\"__metadata__\":{}}", 0).image);
}

static void scalars_and_empty_tensors_are_tensors(void **state) {
  (void)state;
  struct outcome out = read("{\"s\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
                            "\"e\":{\"dtype\":\"F16\",\"shape\":[0,5],\"data_offsets\":[8,8]}}",
                            8);
  assert_int_equal(out.card.tensors[0].rank, 0);
  assert_int_equal(out.card.tensors[0].size, 8);
  assert_int_equal(out.card.tensors[1].size, 0);
  free(out.image);
}

static void dtypes_under_a_byte_come_in_whole_bytes(void **state) {
  (void)state;
  free(read(ONE("\"dtype\":\"F4\",\"shape\":[3,2],\"data_offsets\":[0,3]"), 3).image);
  refused(ONE("\"dtype\":\"F4\",\"shape\":[3,3],\"data_offsets\":[0,5]"), 5,
          "no whole bytes of F4");
}

static void escapes_in_names_are_resolved(void **state) {
  (void)state;
  struct outcome out = read("{\"a\\u00e4\\ud83d\\ude00\\/\\n\\u20ac\":{" U8_4 "}}", 4);
  const struct card_tensor *tensor = &out.card.tensors[0];
  assert_int_equal(tensor->name_bytes, 12);
  assert_memory_equal(out.card.text + tensor->name, "aä😀/\n€", 12);
  free(out.image);
  out = read("{\"\\u005f_metadata__\":{\"k\":\"v\"}}", 0);
  assert_int_equal(out.card.head->tensors, 0);
  free(out.image);
}

static void many_tensors_are_read(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, SAFETENSORS_HEADER);
  for (unsigned i = 0; i < MANY; i++)
    buf_print(&buf, "%c\"layer.%u\":{\"dtype\":\"F16\",\"shape\":[%u],\"data_offsets\":[%u,%u]}",
              i ? ',' : '{', i, 4, 8 * i, 8 * i + 8);
  buf_add(&buf, "}", 1);
  struct outcome out = parse(buf.data, buf.size, UINT64_C(8) * MANY);
  assert_int_equal(out.status, STATUS_OK);
  assert_int_equal(out.card.head->tensors, MANY);
  assert_int_equal(out.card.head->weight_bytes, 8 * MANY);
  free(out.image);
}

/* ---- bad ones ---- */

static void a_header_cut_anywhere_is_refused(void **state) {
  (void)state;
  static const char header[] = "{\"__metadata__\":{\"a\\u00e4\":\"\\ud83d\\ude00\"},\"w\\n\":{" U8_4
                               "},\"v\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[4,8]}}";
  for (size_t n = 0; n < sizeof header - 1; n++)
    assert_int_equal(parse(header, n, 8).status, STATUS_MODEL_FORMAT_INVALID);
  free(read(header, 8).image);
}

static void a_file_cut_in_its_weights_is_refused(void **state) {
  (void)state;
  for (uint64_t weights = 0; weights < 4; weights++)
    refused(ONE(U8_4), weights, "tensor \"a\" ends ");
  refused("{}", 5, "5 bytes");
  refused(ONE(U8_4), 5, "tensor \"a\" is the last one, but 1 bytes");
}

static void offsets_fit_dtype_and_shape(void **state) {
  (void)state;
  static const struct refusal refusals[] = {
      {ONE("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,0]"), "begins behind its end"},
      {ONE("\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[0,4]"), "has 4 bytes"},
      {ONE("\"dtype\":\"U16\",\"shape\":[4],\"data_offsets\":[0,4]"), "shape give 8"},
      {ONE("\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"),
       "too large"},
      {ONE("\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]"),
       "too large"},
      {ONE("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0]"), "two offsets"},
      {ONE("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4,4]"), "two offsets"},
      {ONE("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[]"), "two offsets"},
      {ONE("\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,4],\"data_offsets\":[0,4]"),
       "8 dimensions"},
  };
  ALL_REFUSED(refusals, 4);
}

static void the_weights_are_covered_once(void **state) {
  (void)state;
  refused("{\"a\":{" U8_4 "},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[6,8]}}", 8,
          "2 bytes belong to no tensor");
  refused("{\"a\":{" U8_4 "},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}", 5,
          "tensor \"b\" and those before it have more bytes");
  refused("{\"a\":{" U8_4 "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[3,7]},"
          "\"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[8,9]}}",
          9, "tensor \"b\" overlaps");
  refused("{\"a\":{" U8_4 "},\"b\":{" U8_4 "},\"c\":{\"dtype\":\"U8\",\"shape\":[1],"
          "\"data_offsets\":[8,9]}}",
          9, "overlaps another");
}

static void nothing_is_said_twice(void **state) {
  (void)state;
  refused("{\"a\":{" U8_4 "},\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]}}",
          4, "tensor \"a\" is there twice");
  static const struct refusal refusals[] = {
      {ONE(U8_4 ",\"dtype\":\"U8\""), "tensor \"a\": expected each member once"},
      {ONE(U8_4 ",\"shape\":[4]"), "each member once"},
      {ONE(U8_4 ",\"data_offsets\":[0,4]"), "each member once"},
      {"{\"__metadata__\":{},\"__metadata__\":{}}", "once only"},
  };
  ALL_REFUSED(refusals, 4);
}

static void members_are_those_of_the_format(void **state) {
  (void)state;
  static const struct refusal refusals[] = {
      {ONE("\"dtype\":\"U8\",\"shape\":[4]"), "all of dtype"},
      {ONE(""), "all of dtype"},
      {ONE(U8_4 ",\"stride\":1"), "only"},
      {ONE("\"dtype\":\"Q4_0\",\"shape\":[4],\"data_offsets\":[0,4]"), "a known dtype"},
      {ONE("\"dtype\":\"u8\",\"shape\":[4],\"data_offsets\":[0,4]"), "a known dtype"},
      {ONE("\"dtype\":8,\"shape\":[4],\"data_offsets\":[0,4]"), "a string"},
      {"{\"a\":4}", "'{'"},
      {"{\"a\":[4]}", "'{'"},
      {"{\"__metadata__\":{\"a\":1}}", "a string"},
      {"{\"__metadata__\":{\"a\":{}}}", "a string"},
      {"{\"__metadata__\":null}", "'{'"},
  };
  ALL_REFUSED(refusals, 4);
}

static void integers_are_plain_and_fit(void **state) {
  (void)state;
  static const char *const bad[] = {"-1",
                                    "+4",
                                    "4.0",
                                    "4e0",
                                    "4E0",
                                    "04",
                                    "00",
                                    "\"4\"",
                                    "",
                                    "x",
                                    "0x4",
                                    ".4",
                                    "4.",
                                    "[4]",
                                    "null",
                                    "18446744073709551616",
                                    "99999999999999999999999999"};
  char header[200];
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    snprintf(header, sizeof header,
             "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,%s],\"data_offsets\":[0,4]}}", bad[i]);
    refused(header, 4, "tensor \"a\": expected ");
  }
}

static void text_is_json(void **state) {
  (void)state;
  static const struct refusal refusals[] = {
      {"", "begins with '{'"},
      {" {}", "begins with '{'"},
      {"[]", "begins with '{'"},
      {"{\"a\xff\":{" U8_4 "}}", "UTF-8"},
      {"{\"\xed\xa0\x80\":{" U8_4 "}}", "UTF-8"},
      {ONE(U8_4) "x", "the end"},
      {ONE(U8_4) "{}", "the end"},
      {"{\"a\":{" U8_4 "},}", "a string"},
      {"{,}", "a string"},
      {"{\"a\":{" U8_4 "} \"b\"", "',' or '}'"},
      {"{\"a\" {" U8_4 "}}", "':'"},
      {"{\"a\nb\":{" U8_4 "}}", "the end of a string"},
      {"{\"\\x\":{" U8_4 "}}", "an escaped character"},
      {"{\"\\u12g4\":{" U8_4 "}}", "an escaped character"},
      {"{\"\\ud83d\":{" U8_4 "}}", "an escaped character"},
      {"{\"\\ud83d\\u0041\":{" U8_4 "}}", "an escaped character"},
      {"{\"\\ude00\":{" U8_4 "}}", "an escaped character"},
      {"{\"a\\u0000\":{" U8_4 "}}", "a NUL"},
      {"{a:{" U8_4 "}}", "a string"},
      {"{\"a\":{" U8_4 "}/**/}", "',' or '}'"},
  };
  ALL_REFUSED(refusals, 4);
  assert_int_equal(parse("{}\0", 3, 0).status, STATUS_MODEL_FORMAT_INVALID);
}

static void a_long_name_is_shortened_in_the_reason(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, 1 << 20);
  buf_add(&buf, "{\"", 2);
  for (int i = 0; i < CARD_TENSOR_NAME + 1; i++)
    buf_add(&buf, "n", 1);
  buf_print(&buf, "\":{%s}}", U8_4);
  struct outcome out = parse(buf.data, buf.size, 4);
  assert_int_equal(out.status, STATUS_MODEL_FORMAT_INVALID);
  assert_non_null(strstr(out.problem.text, "nnn…\": the name"));
  memcpy(buf.data + 2, "\\n", 2); /* and the same with an escape */
  out = parse(buf.data, buf.size, 4);
  assert_int_equal(out.status, STATUS_OK);
  assert_int_equal(out.card.tensors[0].name_bytes, CARD_TENSOR_NAME);
  free(out.image);
}

static void tensor_number_1000001_is_refused(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, SAFETENSORS_HEADER);
  for (unsigned i = 0; i < CARD_TENSORS + 1; i++)
    buf_print(&buf, "%c\"%x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
              i ? ',' : '{', i);
  buf_add(&buf, "}", 1);
  struct outcome out = parse(buf.data, buf.size, 0);
  assert_int_equal(out.status, STATUS_MODEL_FORMAT_INVALID);
  assert_non_null(strstr(out.problem.text, "over 1000000 tensors"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_length_of_the_header_is_known_first),
      cmocka_unit_test(a_length_that_cannot_be_is_refused),
      cmocka_unit_test(tensors_are_where_the_header_says),
      cmocka_unit_test(a_model_may_be_empty),
      cmocka_unit_test(scalars_and_empty_tensors_are_tensors),
      cmocka_unit_test(dtypes_under_a_byte_come_in_whole_bytes),
      cmocka_unit_test(escapes_in_names_are_resolved),
      cmocka_unit_test(many_tensors_are_read),
      cmocka_unit_test(a_header_cut_anywhere_is_refused),
      cmocka_unit_test(a_file_cut_in_its_weights_is_refused),
      cmocka_unit_test(offsets_fit_dtype_and_shape),
      cmocka_unit_test(the_weights_are_covered_once),
      cmocka_unit_test(nothing_is_said_twice),
      cmocka_unit_test(members_are_those_of_the_format),
      cmocka_unit_test(integers_are_plain_and_fit),
      cmocka_unit_test(text_is_json),
      cmocka_unit_test(a_long_name_is_shortened_in_the_reason),
      cmocka_unit_test(tensor_number_1000001_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
