/* shards: an index names its files, and agrees with what is in them or is refused. */
#include "model/shards.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static struct shards *parse(const char *text) {
  struct shards *shards = NULL;
  struct problem problem = {0};
  if (shards_parse(text, strlen(text), &shards, &problem))
    fail_msg("%s", problem.text);
  return shards;
}

static void refused(const char *text, size_t n, const char *reason) {
  struct shards *shards = NULL;
  struct problem problem = {0};
  char *exact = malloc(n ? n : 1); /* so that a sanitizer sees one byte more */
  assert_non_null(exact);
  memcpy(exact, text, n);
  assert_int_equal(shards_parse(exact, n, &shards, &problem), STATUS_MODEL_FORMAT_INVALID);
  if (!strstr(problem.text, reason))
    fail_msg("\"%s\" does not say: %s", problem.text, reason);
  assert_null(shards);
  free(exact);
}

static void files_are_named_once_and_in_order(void **state) {
  (void)state;
  struct shards *shards =
      parse("{\"metadata\":{\"total_size\":1.5e3,\"deep\":[[],{\"a\":[true,false,null,-0.5]}]},"
            "\"weight_map\":{\"a\":\"two\",\"b\":\"one\",\"c\":\"two\",\"d\":\"\\u0074wo\","
            "\"e\":\"three\"}}\n");
  assert_int_equal(shards_count(shards), 3);
  assert_string_equal(shards_name(shards, 0), "one");
  assert_string_equal(shards_name(shards, 1), "three");
  assert_string_equal(shards_name(shards, 2), "two");
  shards_free(shards);
}

static void an_index_cut_anywhere_is_refused(void **state) {
  (void)state;
  static const char text[] = "{\"metadata\":{\"total_size\":-1.5e3,\"x\":[null,\"\\u00e4\"]},"
                             "\"weight_map\":{\"a\\n\":\"one\",\"b\":\"t\\u0077o\"}}";
  for (size_t n = 0; n < sizeof text - 1; n++)
    refused(text, n, "");
  shards_free(parse(text));
}

static void file_names_are_plain(void **state) {
  (void)state;
  static const char *const bad[] = {"",    ".",     "..",       "../x",     "/etc/passwd",
                                    "a/b", "a\\nb", "a\\u0000", "a\\u002fb"};
  char text[700], name[CARD_NAME + 2];
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    snprintf(text, sizeof text, "{\"weight_map\":{\"t\":\"%s\"}}", bad[i]);
    refused(text, strlen(text), "no plain file name");
  }
  memset(name, 'n', sizeof name - 1);
  name[CARD_NAME + 1] = 0;
  snprintf(text, sizeof text, "{\"weight_map\":{\"t\":\"%s\"}}", name);
  refused(text, strlen(text), "no plain file name");
  name[CARD_NAME] = 0;
  snprintf(text, sizeof text, "{\"weight_map\":{\"t\":\"%s\"}}", name);
  shards_free(parse(text));
}

static void what_is_no_index_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *reason;
  } bad[] = {
      {"[]", "'{'"},
      {"{}", "no weight_map"},
      {"{\"weight_map\":{}}", "an empty one"},
      {"{\"weight_map\":[]}", "'{'"},
      {"{\"weight_map\":{\"a\":1}}", "a string"},
      {"{\"weight_map\":{\"a\":\"f\"},\"weight_map\":{\"b\":\"f\"}}", "one weight_map only"},
      {"{\"weight_map\":{\"a\":\"f\",\"b\":\"f\",\"\\u0061\":\"g\"}}", "twice"},
      {"{\"weight_map\":{\"a\":\"f\"}} {", "the end"},
      {"{\"metadata\":01,\"weight_map\":{\"a\":\"f\"}}", "leading zeros"},
      {"{\"metadata\":-,\"weight_map\":{\"a\":\"f\"}}", "a digit"},
      {"{\"metadata\":1.,\"weight_map\":{\"a\":\"f\"}}", "a digit"},
      {"{\"metadata\":1e,\"weight_map\":{\"a\":\"f\"}}", "a digit"},
      {"{\"metadata\":nul,\"weight_map\":{\"a\":\"f\"}}", "a value"},
      {"{\"metadata\":[1,],\"weight_map\":{\"a\":\"f\"}}", "a value"},
      {"{\"weight_map\":{\"\xff\":\"f\"}}", "UTF-8"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    refused(bad[i].text, strlen(bad[i].text), bad[i].reason);
}

static void depth_and_size_have_a_cap(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  struct shards *shards = NULL;
  struct problem problem;
  buf_init(&buf, 1 << 22);
  buf_print(&buf, "{\"metadata\":");
  for (int i = 0; i < 1000000; i++)
    buf_add(&buf, "[", 1);
  refused(buf.data, buf.size, "less deep");
  assert_int_equal(shards_parse(buf.data, (size_t)SHARDS_INDEX + 1, &shards, &problem),
                   STATUS_MODEL_FORMAT_INVALID);
}

static void files_have_a_cap(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, 1 << 20);
  for (int i = 0; i < CARD_FILES; i++)
    buf_print(&buf, "%s\"t%d\":\"f%d\"", i ? "," : "{\"weight_map\":{", i, i * 7 % CARD_FILES);
  buf_print(&buf, "%s", "}}");
  struct shards *shards = parse(buf_text(&buf));
  assert_int_equal(shards_count(shards), CARD_FILES);
  for (uint32_t i = 1; i < CARD_FILES; i++)
    assert_true(strcmp(shards_name(shards, i - 1), shards_name(shards, i)) < 0);
  shards_free(shards);
  buf.size -= 2;
  buf_print(&buf, ",\"last\":\"f%d\"}}", CARD_FILES);
  refused(buf.data, buf.size, "over 1024 files");
}

static void tensor_number_1000001_is_refused(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, SHARDS_INDEX);
  for (unsigned i = 0; i < CARD_TENSORS + 1; i++)
    buf_print(&buf, "%s\"%x\":\"f\"", i ? "," : "{\"weight_map\":{", i);
  buf_print(&buf, "%s", "}}");
  refused(buf.data, buf.size, "over 1000000 tensors");
}

/* ---- index and card ---- */

/* Files by their letters, each before its tensors' numbers: "a12b3". */
static void *card_of(const char *what) {
  struct card_builder *builder = NULL;
  struct problem problem = {0};
  void *image = NULL;
  size_t n = 0;
  uint64_t offset = 0;
  assert_int_equal(card_begin(CARD_SAFETENSORS, &builder), STATUS_OK);
  for (; *what; what++) {
    const struct card_file_new file = {what, 1, 100, 0};
    const uint64_t shape = 1;
    const struct card_tensor_new tensor = {what, 1, offset++, 1, &shape, 1, CARD_DTYPE_U8};
    if (*what >= 'a')
      assert_int_equal(card_add_file(builder, &file, &problem), STATUS_OK);
    else
      assert_int_equal(card_add_tensor(builder, &tensor, &problem), STATUS_OK);
  }
  if (card_end(builder, &image, &n, &problem))
    fail_msg("%s", problem.text);
  card_free(builder);
  return image;
}

static enum status check(const char *map, const char *what, const char *reason) {
  char text[200];
  struct card card;
  struct problem problem = {0};
  snprintf(text, sizeof text, "{\"weight_map\":{%s}}", map);
  struct shards *shards = parse(text);
  void *image = card_of(what);
  const struct card_head *head = image;
  size_t n = sizeof *head + head->files * sizeof(struct card_file) +
             head->tensors * sizeof(struct card_tensor) + head->dimensions * 8 + head->text_bytes;
  assert_int_equal(card_check(image, n, &card, &problem), STATUS_OK);
  enum status status = shards_check(shards, &card, &problem);
  if (status && !strstr(problem.text, reason))
    fail_msg("\"%s\" does not say: %s", problem.text, reason);
  shards_free(shards);
  free(image);
  return status;
}

static void index_and_files_agree(void **state) {
  (void)state;
  static const char map[] = "\"1\":\"a\",\"2\":\"b\",\"3\":\"b\"";
  static const struct {
    const char *what, *reason;
  } bad[] = {
      {"a1b2", "tensor \"3\" is in the index, but in no file"},
      {"a1b", "is in the index, but in no file"},
      {"a1b234", "tensor \"4\" is in a file, but not in the index"},
      {"a12b3", "tensor \"2\" is in another file"},
      {"a1b24", ", but "},
      {"a123", "names 2 files, the model has 1"},
      {"a1c23", "does not name file \"c\""},
  };
  assert_int_equal(check(map, "a1b23", ""), STATUS_OK);
  assert_int_equal(check(map, "b32a1", ""), STATUS_OK);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(check(map, bad[i].what, bad[i].reason), STATUS_MODEL_FORMAT_INVALID);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(files_are_named_once_and_in_order),
      cmocka_unit_test(an_index_cut_anywhere_is_refused),
      cmocka_unit_test(file_names_are_plain),
      cmocka_unit_test(what_is_no_index_is_refused),
      cmocka_unit_test(depth_and_size_have_a_cap),
      cmocka_unit_test(files_have_a_cap),
      cmocka_unit_test(tensor_number_1000001_is_refused),
      cmocka_unit_test(index_and_files_agree),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
