/* writer: exact text for each kind of member, hostile strings, and random documents that the reader
 * must understand. */
#include "base/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/reader.h"

struct sheet {
  struct buf buf;
  struct writer w;
};

static int open_sheet(void **state) {
  struct sheet *sheet = calloc(1, sizeof *sheet);
  if (!sheet)
    return 1;
  buf_init(&sheet->buf, 1 << 20);
  writer_init(&sheet->w, &sheet->buf, WRITER_CAMEL);
  *state = sheet;
  return 0;
}

static int close_sheet(void **state) {
  struct sheet *sheet = *state;
  buf_done(&sheet->buf);
  free(sheet);
  return 0;
}

static void commas_stand_between_members_only(void **state) {
  struct sheet *sheet = *state;
  struct writer *w = &sheet->w;
  writer_object(w, NULL);
  writer_object(w, "empty");
  writer_end(w);
  writer_array(w, "list");
  writer_uint(w, NULL, 1);
  writer_array(w, NULL);
  writer_end(w);
  writer_object(w, NULL);
  writer_bool(w, "yes", true);
  writer_bool(w, "no", false);
  writer_end(w);
  writer_end(w);
  writer_null(w, "nothing");
  writer_end(w);
  assert_string_equal(
      buf_text(&sheet->buf),
      "{\"empty\":{},\"list\":[1,[],{\"yes\":true,\"no\":false}],\"nothing\":null}");
}

static void snake_renames_literal_keys_only(void **state) {
  struct sheet *sheet = *state;
  struct writer *w = &sheet->w;
  writer_init(w, &sheet->buf, WRITER_SNAKE);
  writer_object(w, NULL);
  writer_uint(w, "p50BytesPerSecond", 1);
  writer_uint(w, "size", 2);
  writer_key(w, "sizeBytes \"x\"");
  writer_uint(w, NULL, 3);
  writer_uint(w, "maxMs", 4);
  writer_end(w);
  assert_string_equal(
      buf_text(&sheet->buf),
      "{\"p50_bytes_per_second\":1,\"size\":2,\"sizeBytes \\\"x\\\"\":3,\"max_ms\":4}");
}

static void integers_agree_with_printf(void **state) {
  struct sheet *sheet = *state;
  char expected[64];
  for (unsigned bit = 0; bit < 64; bit++) {
    for (unsigned around = 0; around < 3; around++) {
      uint64_t value = (UINT64_C(1) << bit) + around - 1;
      buf_reset(&sheet->buf);
      writer_init(&sheet->w, &sheet->buf, WRITER_CAMEL);
      writer_uint(&sheet->w, NULL, value);
      writer_int(&sheet->w, NULL, (int64_t)value);
      writer_int(&sheet->w, NULL, (int64_t)(0 - value));
      snprintf(expected, sizeof expected, "%" PRIu64 ",%" PRId64 ",%" PRId64, value, (int64_t)value,
               (int64_t)(0 - value));
      assert_string_equal(buf_text(&sheet->buf), expected);
    }
  }
}

static void integers_have_the_right_digits_around_powers_of_ten(void **state) {
  struct sheet *sheet = *state;
  char expected[64];
  uint64_t power = 1;
  for (unsigned digits = 1; digits <= 20; digits++, power *= 10) {
    buf_reset(&sheet->buf);
    writer_init(&sheet->w, &sheet->buf, WRITER_CAMEL);
    writer_uint(&sheet->w, NULL, power - 1);
    writer_uint(&sheet->w, NULL, power);
    snprintf(expected, sizeof expected, "%" PRIu64 ",%" PRIu64, power - 1, power);
    assert_string_equal(buf_text(&sheet->buf), expected);
  }
}

static void hundredths_have_no_zeros_at_the_end(void **state) {
  struct sheet *sheet = *state;
  struct writer *w = &sheet->w;
  const uint64_t values[] = {0, 5, 50, 100, 4567, 4500, 4550, 10000, UINT64_MAX};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++)
    writer_hundredths(w, NULL, values[i]);
  assert_string_equal(buf_text(&sheet->buf),
                      "0,0.05,0.5,1,45.67,45,45.5,100,184467440737095516.15");
}

static void times_are_milliseconds_to_the_nanosecond(void **state) {
  struct sheet *sheet = *state;
  const uint64_t values[] = {0, 1, 208831, 1000000, 1500000, 30000000000, UINT64_MAX};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++)
    writer_ms(&sheet->w, NULL, values[i]);
  assert_string_equal(buf_text(&sheet->buf),
                      "0,0.000001,0.208831,1,1.5,30000,18446744073709.551615");
}

static void doubles_are_short(void **state) {
  struct sheet *sheet = *state;
  const double values[] = {-0.0, 0.1, 45.67, 1.0 / 3, 1e300, 5e-324, -2.5, 0.1 + 0.2};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++)
    writer_double(&sheet->w, NULL, values[i]);
  assert_string_equal(buf_text(&sheet->buf), "0,0.1,45.67,0.3333333333333333,1e+300,"
                                             "4.94065645841247e-324,-2.5,0.30000000000000004");
}

static void doubles_that_json_cannot_say_are_null(void **state) {
  struct sheet *sheet = *state;
  writer_double(&sheet->w, NULL, NAN);
  writer_double(&sheet->w, NULL, INFINITY);
  writer_double(&sheet->w, NULL, -INFINITY);
  assert_string_equal(buf_text(&sheet->buf), "null,null,null");
}

static void text_is_escaped(void **state) {
  struct sheet *sheet = *state;
  writer_text(&sheet->w, NULL, "a\"b\\c/\b\f\n\r\t\x01\x1f\x7f");
  assert_string_equal(buf_text(&sheet->buf), "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"");
}

static void a_special_byte_is_found_at_every_place(void **state) {
  struct sheet *sheet = *state;
  const unsigned char specials[] = {0x00, 0x1f, '"', '\\', 0x80, 0xff};
  for (size_t place = 0; place < 40; place++) {
    for (size_t i = 0; i < sizeof specials; i++) {
      char text[40];
      memset(text, place % 2 ? '~' : '!', sizeof text); /* the neighbours of what is special */
      text[place] = (char)specials[i];
      buf_reset(&sheet->buf);
      writer_init(&sheet->w, &sheet->buf, WRITER_CAMEL);
      writer_text_n(&sheet->w, NULL, text, sizeof text);
      size_t longer = specials[i] >= 0x80 ? 2 : specials[i] < 0x20 ? 5 : 1;
      assert_int_equal(sheet->buf.size, sizeof text + 2 + longer);
      assert_int_equal(sheet->buf.data[1 + place] == text[0] && place, 0);
    }
  }
}

static void utf8_passes_unchanged(void **state) {
  struct sheet *sheet = *state;
  const char *text =
      "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xef\xbf\xbf \xf4\x8f\xbf\xbf \xed\x9f\xbf";
  writer_text(&sheet->w, NULL, text);
  assert_int_equal(sheet->buf.size, strlen(text) + 2);
  assert_memory_equal(sheet->buf.data + 1, text, strlen(text));
}

static void each_broken_byte_becomes_a_replacement(void **state) {
  struct sheet *sheet = *state;
  const struct {
    const char *text;
    unsigned replacements;
  } examples[] = {
      {"\x80", 1},
      {"\xc3", 1},
      {"\xc0\xaf", 2},
      {"\xe2\x82", 2},
      {"\xed\xa0\x80", 3},
      {"\xe0\x80\x80", 3},
      {"\xf0\x80\x80\x80", 4},
      {"\xf4\x90\x80\x80", 4},
      {"\xff\xfe", 2},
      {"\xf5\x80\x80\x80", 4},
      {"\xe2\x28\xa1", 2},
  };
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
    buf_reset(&sheet->buf);
    writer_init(&sheet->w, &sheet->buf, WRITER_CAMEL);
    writer_text(&sheet->w, NULL, examples[i].text);
    unsigned count = 0;
    for (const char *at = buf_text(&sheet->buf); (at = strstr(at, "\xef\xbf\xbd")); at += 3)
      count++;
    assert_int_equal(count, examples[i].replacements);
  }
}

static void absent_text_is_null(void **state) {
  struct sheet *sheet = *state;
  struct writer *w = &sheet->w;
  writer_text(w, NULL, NULL);
  writer_text(w, NULL, "");
  writer_text_or_null(w, NULL, "");
  writer_text_or_null(w, NULL, NULL);
  writer_text_or_null(w, NULL, "x");
  assert_string_equal(buf_text(&sheet->buf), "null,\"\",null,null,\"x\"");
}

static void the_largest_number_can_be_null(void **state) {
  struct sheet *sheet = *state;
  writer_bytes(&sheet->w, NULL, UINT64_MAX);
  writer_bytes(&sheet->w, NULL, UINT64_MAX - 1);
  writer_bytes(&sheet->w, NULL, 0);
  assert_string_equal(buf_text(&sheet->buf), "null,18446744073709551614,0");
}

static void times_and_ids_are_text_or_null(void **state) {
  struct sheet *sheet = *state;
  struct writer *w = &sheet->w;
  writer_time(w, NULL, UINT64_C(1795422728123000000));
  writer_time(w, NULL, 0);
  writer_id(w, NULL, 'a', 0x1f0c000000000042);
  writer_id(w, NULL, 'a', 0);
  assert_string_equal(buf_text(&sheet->buf),
                      "\"2026-11-23T08:32:08.123Z\",null,\"a-1f0c000000000042\",null");
}

static void raw_json_is_a_member(void **state) {
  struct sheet *sheet = *state;
  struct writer *w = &sheet->w;
  writer_object(w, NULL);
  writer_raw(w, "detail", "{\"a\":1}xxx", 7);
  writer_raw(w, "other", "2", 1);
  writer_end(w);
  assert_string_equal(buf_text(&sheet->buf), "{\"detail\":{\"a\":1},\"other\":2}");
}

static void what_is_too_deep_fails_the_buffer(void **state) {
  struct sheet *sheet = *state;
  for (int i = 0; i < WRITER_DEPTH; i++)
    writer_array(&sheet->w, NULL);
  assert_false(sheet->buf.failed);
  writer_array(&sheet->w, NULL);
  assert_true(sheet->buf.failed);
  writer_end(&sheet->w);
}

static void over_the_cap_every_call_is_harmless(void **state) {
  struct sheet *sheet = *state;
  struct writer *w = &sheet->w;
  for (size_t cap = 0; cap < 400; cap++) {
    buf_done(&sheet->buf);
    buf_init(&sheet->buf, cap);
    writer_init(w, &sheet->buf, WRITER_CAMEL);
    writer_object(w, NULL);
    writer_text(w, "text",
                "a \xc3\xa9 b \xff c \x01 d e f g h i j k l m n o p q r s t u v w x y z");
    writer_uint(w, "uint", UINT64_MAX);
    writer_int(w, "int", INT64_MIN);
    writer_hundredths(w, "percent", 4567);
    writer_double(w, "double", 0.1);
    writer_time(w, "time", 1);
    writer_id(w, "id", 'a', 1);
    writer_key(w, "key");
    writer_bool(w, NULL, true);
    writer_end(w);
    if (cap == 0)
      assert_true(sheet->buf.failed);
    assert_true(sheet->buf.size <= cap);
  }
  assert_false(sheet->buf.failed);
}

static uint64_t seed = 20261123;

static uint64_t next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  return seed ^= seed << 17;
}

/* A double of random bits, whole or fractional: everything that is finite. */
static double next_double(void) {
  uint64_t bits = next_random();
  double value;
  memcpy(&value, &bits, sizeof value);
  return isfinite(value) ? value : 0.5;
}

static void random_doubles_read_back_the_same(void **state) {
  struct sheet *sheet = *state;
  for (int i = 0; i < 20000; i++) {
    double value = next_double();
    buf_reset(&sheet->buf);
    writer_init(&sheet->w, &sheet->buf, WRITER_CAMEL);
    writer_double(&sheet->w, NULL, value);
    assert_true(strtod(buf_text(&sheet->buf), NULL) == value);
  }
}

static void random_documents_are_json(void **state) {
  struct sheet *sheet = *state;
  for (int i = 0; i < 3000; i++) {
    struct writer *w = &sheet->w;
    char text[48];
    for (size_t k = 0; k < sizeof text; k++)
      text[k] = (char)(next_random() >> 32 | 1);
    size_t length = next_random() % sizeof text;
    int64_t number = (int64_t)next_random() >> next_random() % 64;
    double real = next_double();
    buf_reset(&sheet->buf);
    writer_init(w, &sheet->buf, i % 2 ? WRITER_SNAKE : WRITER_CAMEL);
    writer_object(w, NULL);
    writer_int(w, "number", number);
    writer_text_n(w, "text", text, length);
    writer_double(w, "real", real);
    writer_end(w);
    struct reader_doc *doc;
    struct problem problem;
    assert_int_equal(reader_parse(sheet->buf.data, sheet->buf.size, &doc, &problem), STATUS_OK);
    assert_true(reader_double(reader_get(reader_root(doc), "real"), 0.25) == real);
    if (number >= 0)
      assert_true(reader_uint(reader_get(reader_root(doc), "number"), 1) == (uint64_t)number);
    assert_non_null(reader_text(reader_get(reader_root(doc), "text"), NULL));
    reader_free(doc);
  }
}

static void words_and_numbers_that_may_be_missing(void **state) {
  struct sheet *sheet = *state;
  struct writer *w = &sheet->w;
  writer_init(w, &sheet->buf, WRITER_CAMEL);
  writer_object(w, NULL);
  writer_words(w, "none", "");
  writer_words(w, "two", "one,more");
  writer_uint_or_null(w, "some", 7);
  writer_uint_or_null(w, "unknown", 0);
  writer_end(w);
  assert_string_equal(buf_text(&sheet->buf),
                      "{\"none\":[],\"two\":[\"one\",\"more\"],\"some\":7,\"unknown\":null}");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_sheet, close_sheet)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(commas_stand_between_members_only),
      TEST(snake_renames_literal_keys_only),
      TEST(integers_agree_with_printf),
      TEST(integers_have_the_right_digits_around_powers_of_ten),
      TEST(hundredths_have_no_zeros_at_the_end),
      TEST(times_are_milliseconds_to_the_nanosecond),
      TEST(doubles_are_short),
      TEST(doubles_that_json_cannot_say_are_null),
      TEST(text_is_escaped),
      TEST(a_special_byte_is_found_at_every_place),
      TEST(utf8_passes_unchanged),
      TEST(each_broken_byte_becomes_a_replacement),
      TEST(absent_text_is_null),
      TEST(the_largest_number_can_be_null),
      TEST(times_and_ids_are_text_or_null),
      TEST(raw_json_is_a_member),
      TEST(what_is_too_deep_fails_the_buffer),
      TEST(over_the_cap_every_call_is_harmless),
      TEST(random_doubles_read_back_the_same),
      TEST(words_and_numbers_that_may_be_missing),
      TEST(random_documents_are_json),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
