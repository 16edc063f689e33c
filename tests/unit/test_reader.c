/* reader: what the contract calls malformed, and fields by tables. */
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

/* ---- documents ---- */

static struct reader_doc *parse(const char *text) {
  struct reader_doc *doc = NULL;
  struct problem problem = {0};
  assert_int_equal(STATUS_OK, reader_parse(text, strlen(text), &doc, &problem));
  return doc;
}

static void refuses_n(const char *text, size_t n, const char *told) {
  struct reader_doc *doc = NULL;
  struct problem problem = {0};
  if (reader_parse(text, n, &doc, &problem) != STATUS_INVALID_JSON)
    fail_msg("accepted: %s", text);
  assert_null(doc);
  assert_int_equal(STATUS_INVALID_JSON, problem.status);
  if (!strstr(problem.text, told))
    fail_msg("%s: not \"%s\" but \"%s\"", text, told, problem.text);
}

static void malformed_documents_are_refused(void **state) {
  (void)state;
  static const char *const texts[] = {
      "{\"a\":1,\"a\":2}",               /* a duplicate key … */
      "{\"b\":{\"a\":1,\"\\u0061\":2}}", /* … also in disguise, also inside */
      "{\"a\":1e400}",                   /* beyond a double */
      "{\"a\":-1e400}",                  /* the same */
      "{\"a\":9223372036854775808}",     /* 2^63 */
      "{\"a\":-9223372036854775809}",    /* -2^63 - 1 */
      "{\"a\":18446744073709551616}",    /* 2^64 */
      "{\"a\":\"\xff\"}",                /* no UTF-8 … */
      "{\"a\":\"\xc3\"}",                /* … cut short */
      "{\"a\":\"\xc0\x80\"}",            /* … overlong */
      "{\"a\":\"\xed\xa0\x80\"}",        /* … a surrogate */
      "{\"a\":\"\xf4\x90\x80\x80\"}",    /* … beyond U+10FFFF */
      "{\"\xff\":1}",                    /* in a key */
      "{\"a\":\"\\ud800\"}",             /* a lone surrogate */
      "{\"a\":\"\\udc00\\ud800\"}",      /* the wrong way round */
      "{\"a\":\"\\ud800x\"}",            /* with something else behind */
      "{\"a\":\"\\u0000\"}",             /* NUL */
      "{\"a\\u0000b\":1}",               /* in a key */
      "{\"a\":\"\\x\"}",                 /* no escape */
      "{\"a\":\"\\u12g4\"}",             /* no hex */
      "{\"a\":\"\n\"}",                  /* a control character */
      "{} {}",                           /* trailing bytes */
      "{}x",                             /* the same */
      "{\"a\":1}]",                      /* the same */
      "{\"a\":NaN}",                     /* no JSON */
      "{\"a\":Infinity}",                /* no JSON */
      "{\"a\":-}",                       /* no number */
      "{\"a\":01}",                      /* no number */
      "{\"a\":+1}",                      /* no number */
      "{\"a\":.5}",                      /* no number */
      "{\"a\":1.}",                      /* no number */
      "{\"a\":0x10}",                    /* no number */
      "{\"a\":1,}",                      /* a comma too many */
      "{\"a\" 1}",                       /* no colon */
      "{a:1}",                           /* no quotes */
      "{'a':1}",                         /* no quotes */
      "{\"a\":1",                        /* no end */
      "{\"a\":\"",                       /* no end */
      "{\"a\":tru}",                     /* no word */
      "{\"a\":TRUE}",                    /* no word */
      "/**/{}",                          /* no JSON */
      "\xef\xbb\xbf{}",                  /* a byte-order mark */
      " ",                               /* nothing */
      "[]",                              /* no object */
      "[{}]",                            /* no object */
      "1",                               /* no object */
      "null",                            /* no object */
      "\"{}\"",                          /* no object */
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    refuses_n(texts[i], strlen(texts[i]), "line 1 column ");
}

static void a_nul_byte_is_no_end(void **state) {
  (void)state;
  refuses_n("{}\0", 3, "line 1 column ");
  refuses_n("{}\0x", 4, "line 1 column ");
  refuses_n("{\"a\0\":1}", 8, "line 1 column ");
  refuses_n("\0", 1, "line 1 column ");
}

static void only_n_bytes_are_read(void **state) {
  (void)state;
  struct reader_doc *doc;
  struct problem problem = {0};
  assert_int_equal(STATUS_OK, reader_parse("{}garbage", 2, &doc, &problem));
  reader_free(doc);
  refuses_n("{}", 1, "line 1 column ");
}

static void an_empty_text_is_an_empty_object(void **state) {
  (void)state;
  struct reader_doc *doc = parse("");
  void *iterator = NULL;
  struct reader_value value;
  assert_true(reader_is_object(reader_root(doc)));
  assert_null(reader_next(reader_root(doc), &iterator, &value));
  reader_free(doc);
  reader_free(NULL);
}

static void the_place_is_told(void **state) {
  (void)state;
  static const struct {
    const char *text, *told;
  } places[] = {
      {"{\n \"a\": 1,\n \"b\": x\n}", "line 3 column "},
      {"{\"a\":1,\n\n\"a\":2}", "line 3 column "},
      {"{\n\"a\":\n9223372036854775808}", "line 3 column "},
  };
  for (size_t i = 0; i < sizeof places / sizeof *places; i++)
    refuses_n(places[i].text, strlen(places[i].text), places[i].told);
}

/* An object whose innermost value is `depth` brackets deep. */
static char *nested(int depth, char open, char close) {
  char *text = calloc(1, 16 + (size_t)depth * 6), *at = text;
  at += sprintf(at, "{\"a\":");
  for (int i = 1; i < depth; i++)
    at += open == '{' && i + 1 < depth ? sprintf(at, "{\"a\":") : sprintf(at, "%c", open);
  for (int i = 1; i < depth; i++)
    *at++ = close;
  *at = '}';
  return text;
}

static void depth_is_at_most_32(void **state) {
  (void)state;
  static const char brackets[] = "[]{}";
  for (int kind = 0; kind < 4; kind += 2) {
    char *text = nested(32, brackets[kind], brackets[kind + 1]);
    reader_free(parse(text));
    free(text);
    text = nested(33, brackets[kind], brackets[kind + 1]);
    refuses_n(text, strlen(text), "nested deeper than 32");
    free(text);
  }
  char *deep = malloc(1000001);
  memset(deep, '[', 1000000);
  deep[1000000] = '\0';
  refuses_n(deep, 1000000, "line 1 column 33: nested deeper than 32");
  free(deep);
}

static void brackets_in_strings_are_no_depth(void **state) {
  (void)state;
  reader_free(parse("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[[[[[[[[\"}"));
  reader_free(parse("{\"a\":[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],"
                    "[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]}"));
  const char *text =
      "{\"a\":\"\\\\\",\"b\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[";
  refuses_n(text, strlen(text), "nested deeper than 32");
}

static void the_borders_of_numbers_are_inside(void **state) {
  (void)state;
  struct reader_doc *doc = parse("{\"a\":9223372036854775807,\"b\":1.7976931348623157e308,"
                                 "\"c\":-9223372036854775808,\"d\":1e-400}");
  assert_int_equal(INT64_MAX, reader_uint(reader_get(reader_root(doc), "a"), 0));
  assert_true(reader_double(reader_get(reader_root(doc), "b"), 0) > 1e308);
  assert_int_equal(7, reader_uint(reader_get(reader_root(doc), "c"), 7));
  assert_true(reader_double(reader_get(reader_root(doc), "d"), 1) < 1e-300);
  reader_free(doc);
}

/* ---- tables ---- */

struct target {
  uint64_t size_bytes, alignment, id;
  int64_t offset;
  bool pinned;
  char label[8];
  int policy;
  double ratio;
  struct reader_value extra;
};

enum { SIZE, ALIGNMENT, ID, OFFSET, PINNED, LABEL, POLICY, RATIO, EXTRA, FIELDS };

static const char *const policies[] = {"fifo", "lru", "lfu", NULL};
static const struct reader_field fields[FIELDS] = {
    [SIZE] = {"sizeBytes", .type = READER_UINT, .offset = offsetof(struct target, size_bytes),
              .min = 1},
    [ALIGNMENT] = {"alignment", .type = READER_UINT, .offset = offsetof(struct target, alignment),
                   .min = 1, .max = 4096, .power_of_two = true},
    [ID] = {"ownId", .type = READER_ID, .offset = offsetof(struct target, id),
            .prefix = ID_ALLOCATION},
    [OFFSET] = {"offset", .type = READER_INT, .offset = offsetof(struct target, offset),
                .min = (uint64_t)-5, .max = 5},
    [PINNED] = {"pinned", .type = READER_BOOL, .offset = offsetof(struct target, pinned)},
    [LABEL] = {"label", .type = READER_TEXT, .offset = offsetof(struct target, label),
               .size = sizeof((struct target *)0)->label},
    [POLICY] = {"evictionPolicy", .type = READER_WORD, .offset = offsetof(struct target, policy),
                .words = policies},
    [RATIO] = {"ratio", .type = READER_DOUBLE, .offset = offsetof(struct target, ratio)},
    [EXTRA] = {"extra", .type = READER_RAW, .offset = offsetof(struct target, extra)},
};

static const struct reader_table camel = {.fields = fields, .count = FIELDS};
static const struct reader_table snake = {.fields = fields, .count = FIELDS, .names = READER_SNAKE};

static enum status decode(const char *text, const struct reader_table *table, struct target *target,
                          struct problem *problem) {
  struct reader_doc *doc = parse(text);
  enum status status = reader_decode(reader_root(doc), table, target, NULL, problem);
  reader_free(doc);
  return status;
}

static void every_type_is_stored(void **state) {
  (void)state;
  struct target target = {0};
  struct problem problem = {0};
  uint64_t present = 0;
  struct reader_doc *doc =
      parse("{\"sizeBytes\":4096,\"alignment\":256,\"ownId\":\"a-1f0c000000000042\",\"offset\":-5,"
            "\"pinned\":true,\"label\":\"l\xc3\xa4ngst\",\"evictionPolicy\":\"LRU\",\"ratio\":2,"
            "\"extra\":[1,2]}");
  assert_int_equal(STATUS_OK, reader_decode(reader_root(doc), &camel, &target, &present, &problem));
  assert_int_equal((1U << FIELDS) - 1, present);
  assert_int_equal(4096, target.size_bytes);
  assert_int_equal(256, target.alignment);
  assert_int_equal(UINT64_C(0x1f0c000000000042), target.id);
  assert_int_equal(-5, target.offset);
  assert_true(target.pinned);
  assert_string_equal("l\xc3\xa4ngst", target.label);
  assert_int_equal(1, target.policy);
  assert_true(target.ratio == 2.0);
  assert_int_equal(2, reader_count(target.extra));
  reader_free(doc);
}

static void absent_fields_are_left_as_they_are(void **state) {
  (void)state;
  struct target target, before;
  struct problem problem = {0};
  uint64_t present = 77;
  memset(&target, 0x5a, sizeof target);
  before = target;
  struct reader_doc *doc = parse("{\"pinned\":false}");
  assert_int_equal(STATUS_OK, reader_decode(reader_root(doc), &camel, &target, &present, &problem));
  reader_free(doc);
  assert_int_equal(1U << PINNED, present);
  before.pinned = false;
  assert_memory_equal(&before, &target, sizeof target);
}

static const struct {
  const char *text, *field;
} wrong[] = {
    {"{\"sizeBytes\":1.0}", "sizeBytes"},
    {"{\"sizeBytes\":1e3}", "sizeBytes"},
    {"{\"sizeBytes\":\"1\"}", "sizeBytes"},
    {"{\"sizeBytes\":true}", "sizeBytes"},
    {"{\"sizeBytes\":null}", "sizeBytes"},
    {"{\"sizeBytes\":[1]}", "sizeBytes"},
    {"{\"sizeBytes\":0}", "sizeBytes"},
    {"{\"sizeBytes\":-1}", "sizeBytes"},
    {"{\"alignment\":3}", "alignment"},
    {"{\"alignment\":8192}", "alignment"},
    {"{\"alignment\":0}", "alignment"},
    {"{\"ownId\":1}", "ownId"},
    {"{\"ownId\":null}", "ownId"},
    {"{\"offset\":-6}", "offset"},
    {"{\"offset\":6}", "offset"},
    {"{\"offset\":0.0}", "offset"},
    {"{\"pinned\":1}", "pinned"},
    {"{\"pinned\":\"true\"}", "pinned"},
    {"{\"pinned\":null}", "pinned"},
    {"{\"label\":\"8 bytes!\"}", "label"},
    {"{\"label\":1}", "label"},
    {"{\"label\":null}", "label"},
    {"{\"label\":\"a\\tb\"}", "label"},
    {"{\"label\":\"\\u007f\"}", "label"},
    {"{\"label\":\"\\u0085\"}", "label"},
    {"{\"evictionPolicy\":\"mru\"}", "evictionPolicy"},
    {"{\"evictionPolicy\":\"\"}", "evictionPolicy"},
    {"{\"evictionPolicy\":\"lr\"}", "evictionPolicy"},
    {"{\"evictionPolicy\":0}", "evictionPolicy"},
    {"{\"ratio\":\"1\"}", "ratio"},
    {"{\"ratio\":null}", "ratio"},
};

/* One wrong field behind a good one: the good one is not stored either. */
static void a_wrong_value_names_its_field_and_stores_nothing(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    struct target target = {0};
    const struct target untouched = {0};
    struct problem problem = {0};
    char text[128];
    snprintf(text, sizeof text, "{\"extra\":{},%s", wrong[i].text + 1);
    if (decode(text, &camel, &target, &problem) != STATUS_INVALID_ARGUMENT)
      fail_msg("accepted: %s", text);
    assert_string_equal(wrong[i].field, problem.field);
    assert_non_null(strstr(problem.text, wrong[i].field));
    assert_memory_equal(&untouched, &target, sizeof target);
  }
}

static void a_wrong_word_is_told_the_right_ones(void **state) {
  (void)state;
  struct target target;
  struct problem problem = {0};
  decode("{\"evictionPolicy\":\"mru\"}", &camel, &target, &problem);
  assert_string_equal("fifo,lru,lfu", problem.allowed);
  assert_non_null(strstr(problem.text, "fifo,lru,lfu"));
}

static void a_malformed_id_is_known_to_nobody(void **state) {
  (void)state;
  static const char *const ids[] = {"",
                                    "a-",
                                    "j-1f0c000000000042",
                                    "a-1f0c00000000004",
                                    "a-1f0c0000000000422",
                                    "a-1F0C000000000042",
                                    "a-1f0c00000000004g",
                                    "../../etc"};
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
    struct target target = {.id = 77};
    struct problem problem = {0};
    char text[64];
    snprintf(text, sizeof text, "{\"ownId\":\"%s\"}", ids[i]);
    assert_int_equal(STATUS_OK, decode(text, &camel, &target, &problem));
    assert_int_equal(0, target.id);
  }
}

static void an_unknown_field_is_told_the_known_ones(void **state) {
  (void)state;
  struct target target;
  struct problem problem = {0};
  assert_int_equal(STATUS_UNKNOWN_FIELD, decode("{\"size\":1}", &camel, &target, &problem));
  assert_string_equal("size", problem.field);
  assert_string_equal("sizeBytes,alignment,ownId,offset,pinned,label,evictionPolicy,ratio,extra",
                      problem.allowed);
  assert_int_equal(STATUS_UNKNOWN_FIELD, decode("{\"sizebytes\":1}", &camel, &target, &problem));
  assert_int_equal(STATUS_UNKNOWN_FIELD, decode("{\"\":1}", &camel, &target, &problem));
}

static void an_unknown_name_of_any_length_is_cut(void **state) {
  (void)state;
  struct target target;
  struct problem problem = {0};
  char *text = malloc(100010);
  memset(text, 'x', 100010);
  memcpy(text, "{\"", 2);
  memcpy(text + 100004, "\":1}", 5);
  assert_int_equal(STATUS_UNKNOWN_FIELD, decode(text, &camel, &target, &problem));
  assert_int_equal(sizeof problem.field - 1, strlen(problem.field));
  free(text);
}

static void names_are_spelt_one_way(void **state) {
  (void)state;
  struct target target;
  struct problem problem = {0};
  static const char *const others[] = {"sizeBytes", "size_Bytes",  "size_byte", "size_bytess",
                                       "sizebytes", "size__bytes", "size_",     "size"};
  assert_int_equal(STATUS_OK, decode("{\"size_bytes\":5,\"own_id\":\"\",\"label\":\"\"}", &snake,
                                     &target, &problem));
  assert_int_equal(5, target.size_bytes);
  assert_int_equal(STATUS_UNKNOWN_FIELD, decode("{\"size_bytes\":5}", &camel, &target, &problem));
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    char text[64];
    snprintf(text, sizeof text, "{\"%s\":5}", others[i]);
    assert_int_equal(STATUS_UNKNOWN_FIELD, decode(text, &snake, &target, &problem));
    assert_non_null(strstr(problem.allowed, "size_bytes,"));
  }
  assert_int_equal(STATUS_INVALID_ARGUMENT,
                   decode("{\"size_bytes\":-5}", &snake, &target, &problem));
  assert_string_equal("size_bytes", problem.field);
}

static void what_is_required_is_missed(void **state) {
  (void)state;
  struct reader_field required[2] = {fields[SIZE], fields[PINNED]};
  required[0].required = true;
  const struct reader_table one = {.fields = required, .count = 2, .names = READER_SNAKE};
  struct target target = {.pinned = false};
  struct problem problem = {0};
  assert_int_equal(STATUS_MISSING_PARAMETER, decode("{\"pinned\":true}", &one, &target, &problem));
  assert_string_equal("size_bytes", problem.field);
  assert_false(target.pinned);
  assert_int_equal(STATUS_OK, decode("{\"size_bytes\":1}", &one, &target, &problem));
}

static void what_is_ignored_is_no_unknown_field(void **state) {
  (void)state;
  static const char *const ignore[] = {"requestId", "action", NULL};
  struct reader_table table = snake;
  struct target target;
  struct problem problem = {0};
  table.ignore = ignore;
  assert_int_equal(STATUS_OK, decode("{\"request_id\":{},\"action\":1,\"pinned\":true}", &table,
                                     &target, &problem));
  assert_int_equal(STATUS_UNKNOWN_FIELD, decode("{\"requestId\":1}", &table, &target, &problem));
}

static void only_an_object_has_fields(void **state) {
  (void)state;
  struct reader_doc *doc = parse("{\"a\":[]}");
  struct target target;
  struct problem problem = {0};
  assert_int_equal(STATUS_INVALID_ARGUMENT, reader_decode(reader_get(reader_root(doc), "a"), &camel,
                                                          &target, NULL, &problem));
  assert_int_equal(STATUS_INVALID_ARGUMENT, reader_decode(reader_get(reader_root(doc), "b"), &camel,
                                                          &target, NULL, &problem));
  reader_free(doc);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(malformed_documents_are_refused),
      cmocka_unit_test(a_nul_byte_is_no_end),
      cmocka_unit_test(only_n_bytes_are_read),
      cmocka_unit_test(an_empty_text_is_an_empty_object),
      cmocka_unit_test(the_place_is_told),
      cmocka_unit_test(depth_is_at_most_32),
      cmocka_unit_test(brackets_in_strings_are_no_depth),
      cmocka_unit_test(the_borders_of_numbers_are_inside),
      cmocka_unit_test(every_type_is_stored),
      cmocka_unit_test(absent_fields_are_left_as_they_are),
      cmocka_unit_test(a_wrong_value_names_its_field_and_stores_nothing),
      cmocka_unit_test(a_wrong_word_is_told_the_right_ones),
      cmocka_unit_test(a_malformed_id_is_known_to_nobody),
      cmocka_unit_test(an_unknown_field_is_told_the_known_ones),
      cmocka_unit_test(an_unknown_name_of_any_length_is_cut),
      cmocka_unit_test(names_are_spelt_one_way),
      cmocka_unit_test(what_is_required_is_missed),
      cmocka_unit_test(what_is_ignored_is_no_unknown_field),
      cmocka_unit_test(only_an_object_has_fields),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
