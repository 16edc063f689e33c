/* ops/openapi: the document is JSON, says what the table says, and refers to nothing that is not
 * there. */
#include "ops/openapi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/reader.h"
#include "ops/table.h"
#include "service/job.h"
#include "service/usage.h"
#include "service/view.h"

static struct reader_value root;

static int read_document(void **state) {
  struct problem problem;
  struct reader_doc *doc;
  struct buf text;
  buf_init(&text, 1 << 20);
  openapi_write(&text);
  assert_false(text.failed);
  if (reader_parse(text.data, text.size, &doc, &problem))
    fail_msg("%s", problem.text);
  buf_done(&text);
  root = reader_root(doc);
  *state = doc;
  return 0;
}

static int free_document(void **state) {
  reader_free(*state);
  return 0;
}

static struct reader_value member(struct reader_value object, const char *name) {
  struct reader_value value = reader_get(object, name);
  if (!value.json)
    fail_msg("%s is missing", name);
  return value;
}

static struct reader_value components(void) {
  return member(member(root, "components"), "schemas");
}

/* The operation of a row, by the row's own words. */
static struct reader_value operation_of(const struct ops_row *row, const char *path) {
  static const char *const methods[] = {"get", "post", "put", "patch", "delete"};
  return member(member(member(root, "paths"), path), methods[row->method]);
}

static struct reader_value body_of(struct reader_value operation) {
  struct reader_value body = member(member(operation, "requestBody"), "content");
  return member(member(body, "application/json"), "schema");
}

typedef void row_fn(const struct ops_row *row, struct reader_value operation);

static void each_row(row_fn *judge) {
  size_t count;
  const struct ops_row *const *rows = table_rows(&count);
  for (size_t i = 0; i < count; i++) {
    if (rows[i]->path)
      judge(rows[i], operation_of(rows[i], rows[i]->path));
    if (rows[i]->alias)
      judge(rows[i], operation_of(rows[i], rows[i]->alias));
  }
}

/* Calls judge for each value in the document that is a text under `key`. */
typedef void text_fn(const char *text, void *arg);
struct search {
  const char *key;
  text_fn *judge;
  void *arg;
};

static void walk(struct reader_value value, const struct search *search) {
  struct reader_value child;
  void *iterator = NULL;
  const char *key;
  for (size_t i = 0; i < reader_count(value); i++)
    walk(reader_at(value, i), search);
  if (!reader_is_object(value))
    return;
  while ((key = reader_next(value, &iterator, &child))) {
    const char *text = reader_text(child, NULL);
    if (text && strcmp(key, search->key) == 0)
      search->judge(text, search->arg);
    walk(child, search);
  }
}

/* ---- references ---- */

#define SCHEMAS "#/components/schemas/"

static void resolves(const char *reference, void *arg) {
  assert_memory_equal(reference, SCHEMAS, strlen(SCHEMAS));
  assert_true(reader_is_object(member(components(), reference + strlen(SCHEMAS))));
  ++*(unsigned *)arg;
}

static void every_reference_resolves(void **state) {
  (void)state;
  unsigned found = 0;
  walk(root, &(struct search){"$ref", resolves, &found});
  assert_true(found > 50);
}

struct wanted {
  const char *name;
  bool found;
};

static void is_wanted(const char *reference, void *arg) {
  struct wanted *wanted = arg;
  if (strcmp(reference + strlen(SCHEMAS), wanted->name) == 0)
    wanted->found = true;
}

static void every_schema_is_used(void **state) {
  (void)state;
  struct reader_value schema;
  void *iterator = NULL;
  const char *name;
  while ((name = reader_next(components(), &iterator, &schema))) {
    struct wanted wanted = {name, false};
    walk(root, &(struct search){"$ref", is_wanted, &wanted});
    if (!wanted.found)
      fail_msg("nothing refers to %s", name);
  }
}

/* ---- rows ---- */

static void has_its_parameters(const struct ops_row *row, struct reader_value operation) {
  struct reader_value parameters = reader_get(operation, "parameters");
  assert_int_equal(reader_count(parameters), row->path_count + row->query_count);
  for (size_t i = 0; i < reader_count(parameters); i++) {
    struct reader_value one = reader_at(parameters, i);
    const char *name = reader_text(member(one, "name"), "");
    bool in_path = i < row->path_count;
    char braces[64];
    snprintf(braces, sizeof braces, "{%s}", name);
    assert_string_equal(reader_text(member(one, "in"), ""), in_path ? "path" : "query");
    if (in_path)
      assert_non_null(strstr(row->path, braces));
    else
      assert_string_equal(name, row->fields[i].name);
    assert_true(!in_path || reader_bool(member(one, "required"), false));
    assert_string_equal(reader_text(member(member(one, "schema"), "description"), ""),
                        row->fields[i].doc);
  }
}

static void has_its_body(const struct ops_row *row, struct reader_value operation) {
  size_t outside = row->path_count + row->query_count;
  if (outside == row->field_count) {
    assert_null(reader_get(operation, "requestBody").json);
    return;
  }
  struct reader_value schema = body_of(operation);
  assert_false(reader_bool(member(schema, "additionalProperties"), true));
  for (size_t i = outside; i < row->field_count; i++) {
    struct reader_value field = member(member(schema, "properties"), row->fields[i].name);
    assert_string_equal(reader_text(member(field, "description"), ""), row->fields[i].doc);
    assert_int_equal(reader_get(field, "default").json != NULL, row->fields[i].otherwise != NULL);
  }
}

static void has_its_answers(const struct ops_row *row, struct reader_value operation) {
  struct reader_value answers = member(operation, "responses");
  assert_string_equal(reader_text(member(operation, "summary"), ""), row->summary);
  assert_string_equal(reader_text(member(member(answers, "200"), "description"), ""), row->answer);
  assert_int_equal(reader_get(answers, "202").json != NULL, row->starts);
  member(answers, "default");
}

static void every_row_has_its_parameters(void **state) {
  (void)state;
  each_row(has_its_parameters);
}

static void every_row_has_its_body(void **state) {
  (void)state;
  each_row(has_its_body);
}

static void every_row_has_its_answers(void **state) {
  (void)state;
  each_row(has_its_answers);
}

struct ids {
  const char *seen[128];
  size_t count;
};

static void is_new(const char *id, void *arg) {
  struct ids *ids = arg;
  for (size_t i = 0; i < ids->count; i++)
    assert_string_not_equal(ids->seen[i], id);
  assert_true(ids->count < sizeof ids->seen / sizeof *ids->seen);
  ids->seen[ids->count++] = id;
}

/* Who takes an id that begins with memory. to the socket finds an operation there. */
static void operation_ids_are_unique_and_actions_where_they_look_so(void **state) {
  (void)state;
  struct ids ids = {.count = 0};
  walk(member(root, "paths"), &(struct search){"operationId", is_new, &ids});
  for (size_t i = 0; i < ids.count; i++)
    if (strncmp(ids.seen[i], "memory.", 7) == 0)
      assert_non_null(table_by_action(ids.seen[i]));
}

static void what_only_the_socket_knows_is_not_in_it(void **state) {
  (void)state;
  struct wanted wanted = {"memory.shutdown", false};
  assert_non_null(table_by_action(wanted.name));
  struct ids ids = {.count = 0};
  walk(root, &(struct search){"operationId", is_new, &ids});
  for (size_t i = 0; i < ids.count; i++)
    assert_string_not_equal(ids.seen[i], wanted.name);
}

/* ---- fields and words ---- */

static void ranges_defaults_and_words_are_told(void **state) {
  (void)state;
  const struct ops_row *row = table_by_action("memory.allocate");
  struct reader_value schema = body_of(operation_of(row, row->path));
  struct reader_value fields = member(schema, "properties");
  struct reader_value size = member(fields, "sizeBytes"), zero = member(fields, "zero");
  assert_int_equal(reader_count(member(schema, "required")), 1);
  assert_string_equal(reader_text(reader_at(member(schema, "required"), 0), ""), "sizeBytes");
  assert_string_equal(reader_text(member(size, "type"), ""), "integer");
  assert_int_equal(reader_uint(member(size, "minimum"), 0), 1);
  assert_int_equal(reader_uint(member(size, "maximum"), 0), UINT64_C(1) << 62);
  assert_int_equal(reader_uint(member(member(fields, "alignmentBytes"), "default"), 0), 256);
  assert_string_equal(reader_text(member(member(fields, "purpose"), "default"), ""), "buffers");
  assert_int_equal(reader_count(member(member(fields, "purpose"), "enum")), VIEW_PURPOSES);
  assert_string_equal(reader_text(member(zero, "type"), ""), "boolean");
  assert_false(reader_bool(member(zero, "default"), true));
}

/* The words that answers may have are those of the code. */
static void words_are_those_of_the_service(void **state) {
  (void)state;
  static const struct list {
    const char *schema;
    const char *const *words;
  } lists[] = {{"Purpose", view_purposes},
               {"Priority", view_priorities},
               {"Share", view_shares},
               {"OwnerKind", view_owner_kinds},
               {"AllocationStatus", view_alloc_statuses},
               {"DeviceHealth", view_healths},
               {"WorkerState", view_worker_states},
               {"JobStatus", job_states},
               {"TrendDirection", usage_directions}};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    struct reader_value words = member(member(components(), lists[i].schema), "enum");
    size_t count = 0;
    for (; lists[i].words[count]; count++)
      assert_string_equal(reader_text(reader_at(words, count), ""), lists[i].words[count]);
    assert_int_equal(reader_count(words), count);
  }
}

static void a_member_that_may_be_null_or_absent_says_so(void **state) {
  (void)state;
  struct reader_value device = member(components(), "DeviceStatus");
  struct reader_value uuid = member(member(device, "properties"), "uuid");
  assert_string_equal(reader_text(reader_at(member(uuid, "type"), 1), ""), "null");
  assert_int_equal(reader_count(member(device, "required")), 29);
  struct reader_value looked =
      reader_at(member(member(components(), "LookedAllocation"), "allOf"), 1);
  member(member(looked, "properties"), "historyTruncated");
  assert_int_equal(reader_count(member(looked, "required")), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_reference_resolves),
      cmocka_unit_test(every_schema_is_used),
      cmocka_unit_test(every_row_has_its_parameters),
      cmocka_unit_test(every_row_has_its_body),
      cmocka_unit_test(every_row_has_its_answers),
      cmocka_unit_test(operation_ids_are_unique_and_actions_where_they_look_so),
      cmocka_unit_test(what_only_the_socket_knows_is_not_in_it),
      cmocka_unit_test(ranges_defaults_and_words_are_told),
      cmocka_unit_test(words_are_those_of_the_service),
      cmocka_unit_test(a_member_that_may_be_null_or_absent_says_so),
  };
  return cmocka_run_group_tests(tests, read_document, free_document);
}
