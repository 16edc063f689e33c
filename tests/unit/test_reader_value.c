/* reader: values without a table, one field from a text, and JSON out again. */
#include "base/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/id.h"

static struct reader_doc *parse(const char *text) {
  struct reader_doc *doc = NULL;
  struct problem problem = {0};
  assert_int_equal(STATUS_OK, reader_parse(text, strlen(text), &doc, &problem));
  return doc;
}

static void what_is_not_there_is_otherwise(void **state) {
  (void)state;
  struct reader_doc *doc =
      parse("{\"text\":\"t\",\"uint\":5,\"double\":1.5,\"bool\":true,\"list\":[7],"
            "\"minus\":-1,\"null\":null}");
  static const char *const names[] = {"text", "uint",  "double", "bool",
                                      "list", "minus", "null",   "nothing"};
  struct reader_value root = reader_root(doc);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct reader_value value = reader_get(root, names[i]);
    assert_string_equal(i == 0 ? "t" : "-", reader_text(value, "-"));
    assert_int_equal(i == 1 ? 5 : 77, reader_uint(value, 77));
    double expected = i == 1 ? 5 : i == 2 ? 1.5 : i == 5 ? -1 : 0.25;
    assert_true(expected == reader_double(value, 0.25));
    assert_int_equal(i == 3, reader_bool(value, false));
    assert_int_equal(i != 3 || reader_bool(value, false), reader_bool(value, true));
    assert_int_equal(i == 4, reader_is_array(value));
    assert_int_equal(i == 4 ? 1 : 0, reader_count(value));
    assert_int_equal(i == 4 ? 7 : 77, reader_uint(reader_at(value, 0), 77));
    assert_null(reader_at(value, 1).json);
    assert_null(reader_get(value, "text").json);
    assert_false(reader_is_object(value));
  }
  assert_true(reader_is_object(root));
  reader_free(doc);
}

/* However many members there are, whatever their names: all of them, in the document's order. */
static void members_are_walked_in_order(void **state) {
  (void)state;
  enum { MANY = 20000 };
  struct buf text BUF_CLEANUP;
  buf_init(&text, 1 << 20);
  buf_print(&text, "{");
  for (int i = 0; i < MANY; i++)
    buf_print(&text, "%s\"k%d\":%d", i ? "," : "", i * 7919 % MANY, i);
  buf_print(&text, "}");
  struct reader_doc *doc = parse(buf_text(&text));
  struct reader_value value;
  void *iterator = NULL;
  const char *key;
  int count = 0;
  while ((key = reader_next(reader_root(doc), &iterator, &value))) {
    assert_int_equal(count * 7919 % MANY, strtol(key + 1, NULL, 10));
    assert_int_equal(count++, reader_uint(value, MANY));
  }
  assert_int_equal(MANY, count);
  assert_null(iterator);
  reader_free(doc);
}

static void what_is_no_object_has_no_members(void **state) {
  (void)state;
  struct reader_doc *doc = parse("{\"list\":[1],\"empty\":{}}");
  static const char *const names[] = {"list", "empty", "nothing"};
  for (int i = 0; i < 3; i++) {
    struct reader_value value;
    void *iterator = NULL;
    assert_null(reader_next(reader_get(reader_root(doc), names[i]), &iterator, &value));
  }
  reader_free(doc);
}

static void assert_dumped(const char *expected, struct reader_value value) {
  struct buf out BUF_CLEANUP;
  buf_init(&out, 4096);
  reader_dump(value, &out);
  assert_false(out.failed);
  assert_string_equal(expected, buf_text(&out));
}

static void a_dump_says_the_same(void **state) {
  (void)state;
  const char *text = "{\"b\":[1,-2,{\"x\":null},[]],\"a\":\"q\\\"\\u0001\xc3\xa4\",\"c\":0.1,"
                     "\"d\":true,\"e\":false,\"f\":{},\"g\":9223372036854775807}";
  struct reader_doc *doc = parse(text);
  assert_dumped(text, reader_root(doc));
  assert_dumped("[1,-2,{\"x\":null},[]]", reader_get(reader_root(doc), "b"));
  assert_dumped("0.1", reader_get(reader_root(doc), "c"));
  assert_dumped("null", reader_get(reader_root(doc), "nothing"));
  reader_free(doc);
}

static void what_is_as_deep_as_can_be_read_can_be_dumped(void **state) {
  (void)state;
  char text[128] = "{\"a\":";
  memset(text + 5, '[', 31);
  memset(text + 36, ']', 31);
  text[67] = '}';
  struct reader_doc *doc = parse(text);
  assert_dumped(text, reader_root(doc));
  reader_free(doc);
}

/* ---- one field from a text ---- */

union cell {
  uint64_t uint;
  int64_t integer;
  bool flag;
  char text[8];
  int word;
  double real;
};

static const char *const words[] = {"asc", "desc", NULL};

static enum status decode(enum reader_type type, const char *text, union cell *out) {
  const struct reader_field field = {.name = "limit",
                                     .type = type,
                                     .size = sizeof out->text,
                                     .min = type == READER_INT ? (uint64_t)-10 : 0,
                                     .max = 1000,
                                     .words = words,
                                     .prefix = ID_JOB};
  struct problem problem = {0};
  enum status status = reader_decode_text(&field, text, out, &problem);
  if (status)
    assert_string_equal("limit", problem.field);
  return status;
}

static void a_text_is_read_as_its_field(void **state) {
  (void)state;
  union cell cell;
  assert_int_equal(STATUS_OK, decode(READER_UINT, "1000", &cell));
  assert_int_equal(1000, cell.uint);
  assert_int_equal(STATUS_OK, decode(READER_INT, "-10", &cell));
  assert_int_equal(-10, cell.integer);
  assert_int_equal(STATUS_OK, decode(READER_BOOL, "true", &cell));
  assert_true(cell.flag);
  assert_int_equal(STATUS_OK, decode(READER_TEXT, "1e400 {", &cell));
  assert_string_equal("1e400 {", cell.text);
  assert_int_equal(STATUS_OK, decode(READER_TEXT, "", &cell));
  assert_string_equal("", cell.text);
  assert_int_equal(STATUS_OK, decode(READER_WORD, "DESC", &cell));
  assert_int_equal(1, cell.word);
  assert_int_equal(STATUS_OK, decode(READER_DOUBLE, "0.5", &cell));
  assert_true(cell.real == 0.5);
  assert_int_equal(STATUS_OK, decode(READER_ID, "j-0000000000000010", &cell));
  assert_int_equal(16, cell.uint);
  assert_int_equal(STATUS_OK, decode(READER_ID, "\"j-0000000000000010\"", &cell));
  assert_int_equal(0, cell.uint);
}

static void a_text_is_judged_like_a_document(void **state) {
  (void)state;
  static const struct {
    enum reader_type type;
    const char *text;
  } wrong[] = {
      {READER_UINT, ""},         {READER_UINT, " 5"},     {READER_UINT, "5 "},
      {READER_UINT, "05"},       {READER_UINT, "+5"},     {READER_UINT, "-5"},
      {READER_UINT, "5.0"},      {READER_UINT, "1e2"},    {READER_UINT, "0x10"},
      {READER_UINT, "1001"},     {READER_UINT, "5,6"},    {READER_UINT, "true"},
      {READER_UINT, "\"5\""},    {READER_UINT, "5\n"},    {READER_UINT, "9223372036854775808"},
      {READER_INT, "-11"},       {READER_INT, "--1"},     {READER_BOOL, "1"},
      {READER_BOOL, "True"},     {READER_BOOL, "yes"},    {READER_BOOL, "truefalse"},
      {READER_TEXT, "8 bytes!"}, {READER_TEXT, "a\x01"},  {READER_TEXT, "\xff"},
      {READER_WORD, "up"},       {READER_WORD, "\xff"},   {READER_DOUBLE, "nan"},
      {READER_DOUBLE, "1e400"},  {READER_ID, "\xff"},     {READER_RAW, "1"},
      {READER_DOUBLE, "[1]"},    {READER_DOUBLE, "null"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    union cell cell = {.text = "as it w"};
    if (decode(wrong[i].type, wrong[i].text, &cell) != STATUS_INVALID_ARGUMENT)
      fail_msg("accepted: %s", wrong[i].text);
    assert_string_equal("as it w", cell.text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_not_there_is_otherwise),
      cmocka_unit_test(members_are_walked_in_order),
      cmocka_unit_test(what_is_no_object_has_no_members),
      cmocka_unit_test(a_dump_says_the_same),
      cmocka_unit_test(what_is_as_deep_as_can_be_read_can_be_dumped),
      cmocka_unit_test(a_text_is_read_as_its_field),
      cmocka_unit_test(a_text_is_judged_like_a_document),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
