/*
 * table: every row is one that doors, generators and readers can rely on, and every path and action
 * leads to the row that is meant.
 */
#include "ops/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEGMENTS 16

#define assert_row(row, right)                                                                     \
  do {                                                                                             \
    if (!(right))                                                                                  \
      fail_msg("%s: " #right, name_of(row));                                                       \
  } while (0)

#define assert_field(row, field, right)                                                            \
  do {                                                                                             \
    if (!(right))                                                                                  \
      fail_msg("%s, %s: " #right, name_of(row), (field)->name);                                    \
  } while (0)

static const char *name_of(const struct ops_row *row) {
  static char text[160];
  snprintf(text, sizeof text, "%s %s, %s", ops_methods[row->method], row->path ? row->path : "-",
           row->action ? row->action : "-");
  return text;
}

/* ---- rows ---- */

static size_t count_braces(const char *path) {
  size_t count = 0;
  for (; (path = strchr(path, '{')); path++)
    count++;
  return count;
}

static void check_shape(const struct ops_row *row) {
  size_t outside = row->path_count + row->query_count;
  assert_row(row, row->path || row->action);
  assert_row(row, row->path || !row->alias);
  assert_row(row, !row->path || *row->path == '/');
  assert_row(row, row->path_count == (row->path ? count_braces(row->path) : 0));
  assert_row(row, !row->alias || row->path_count == count_braces(row->alias));
  assert_row(row, row->path_count <= OPS_PATH_VALUES);
  assert_row(row, outside <= row->field_count);
  assert_row(row, !row->field_count == !row->fields);
  assert_row(row, row->params_size <= OPS_PARAMS);
}

static void check_words(const struct ops_row *row) {
  bool has_body = row->method == OPS_POST || row->method == OPS_PUT || row->method == OPS_PATCH;
  assert_row(row, row->method < OPS_METHODS);
  assert_row(row, row->handler);
  assert_row(row, row->summary && *row->summary && row->answer && *row->answer);
  assert_row(row, has_body || !row->path || row->field_count == row->path_count + row->query_count);
  assert_row(row, !row->path || row->method == OPS_GET || row->role >= CALLER_WRITE);
  assert_row(row, !row->streams || row->path);
  assert_row(row, !row->schema || row->envelope);
}

static void every_row_is_whole(void **state) {
  (void)state;
  size_t count;
  const struct ops_row *const *rows = table_rows(&count);
  assert_true(count > 30);
  for (size_t i = 0; i < count; i++) {
    check_shape(rows[i]);
    check_words(rows[i]);
  }
}

static bool same(const char *a, const char *b) { return a && b && strcmp(a, b) == 0; }

static bool share_a_path(const struct ops_row *a, const struct ops_row *b) {
  return same(a->path, b->path) || same(a->path, b->alias) || same(a->alias, b->path) ||
         same(a->alias, b->alias);
}

/* Two rows of one action are one operation with and without a device; the socket tells them apart
 * by the field alone, so nothing else may differ. */
static void check_pair(const struct ops_row *all, const struct ops_row *one) {
  assert_row(one, all->path_count == 0 && one->path_count == 1);
  assert_row(one, same(one->fields[0].name, "deviceId"));
  assert_row(one, all->method == one->method && all->role == one->role);
  assert_row(one, one->field_count == all->field_count + 1);
  for (size_t i = 0; i < all->field_count; i++)
    assert_field(one, &one->fields[i + 1], same(all->fields[i].name, one->fields[i + 1].name));
}

static void no_two_rows_are_one(void **state) {
  (void)state;
  size_t count, pairs = 0;
  const struct ops_row *const *rows = table_rows(&count);
  for (size_t i = 0; i < count; i++)
    for (size_t k = i + 1; k < count; k++) {
      assert_row(rows[k], rows[i]->method != rows[k]->method || !share_a_path(rows[i], rows[k]));
      if (!same(rows[i]->action, rows[k]->action))
        continue;
      check_pair(rows[i], rows[k]);
      pairs++;
    }
  assert_int_equal(pairs, 8);
}

/* ---- fields ---- */

static size_t size_of(const struct reader_field *field) {
  static const size_t sizes[] = {
      [READER_UINT] = sizeof(uint64_t),
      [READER_INT] = sizeof(int64_t),
      [READER_BOOL] = sizeof(bool),
      [READER_WORD] = sizeof(int),
      [READER_ID] = sizeof(uint64_t),
      [READER_DOUBLE] = sizeof(double),
      [READER_TEXT] = 0,
      [READER_RAW] = sizeof(struct reader_value),
  };
  return field->type == READER_TEXT ? field->size : sizes[field->type];
}

static void check_field(const struct ops_row *row, const struct reader_field *field) {
  assert_field(row, field, *field->name >= 'a' && *field->name <= 'z');
  for (const char *at = field->name; *at; at++)
    assert_field(row, field, (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z'));
  assert_field(row, field, field->doc && *field->doc);
  assert_field(row, field, size_of(field) > 0);
  assert_field(row, field, field->offset + size_of(field) <= row->params_size);
  assert_field(row, field, (field->type == READER_WORD) == (field->words != NULL));
  assert_field(row, field, (field->type == READER_ID) == (field->prefix != 0));
  assert_field(row, field,
               !field->max || field->min <= field->max ||
                   (field->type == READER_INT && (int64_t)field->min < 0));
  assert_field(row, field, !field->required || !field->otherwise);
}

static void every_field_is_documented_and_has_its_place(void **state) {
  (void)state;
  size_t count;
  const struct ops_row *const *rows = table_rows(&count);
  for (size_t i = 0; i < count; i++)
    for (size_t k = 0; k < rows[i]->field_count; k++) {
      const struct reader_field *fields = rows[i]->fields;
      check_field(rows[i], &fields[k]);
      for (size_t j = 0; j < k; j++) {
        bool before = fields[j].offset + size_of(&fields[j]) <= fields[k].offset;
        bool behind = fields[k].offset + size_of(&fields[k]) <= fields[j].offset;
        assert_field(rows[i], &fields[k], before || behind);
        assert_field(rows[i], &fields[k], !same(fields[j].name, fields[k].name));
      }
    }
}

/* What docs and openapi.json promise is what a request gets that says nothing. */
static void a_documented_default_is_the_default(void **state) {
  (void)state;
  static _Alignas(16) char silent[OPS_PARAMS], said[OPS_PARAMS];
  struct problem problem;
  size_t count, checked = 0;
  const struct ops_row *const *rows = table_rows(&count);
  for (size_t i = 0; i < count; i++) {
    memset(silent, 0, sizeof silent);
    if (rows[i]->defaults)
      rows[i]->defaults(silent);
    for (size_t k = 0; k < rows[i]->field_count; k++) {
      const struct reader_field *field = &rows[i]->fields[k];
      if (!field->otherwise)
        continue;
      memcpy(said, silent, sizeof said);
      memset(said + field->offset, 0, size_of(field));
      assert_int_equal(reader_decode_text(field, field->otherwise, said, &problem), STATUS_OK);
      assert_field(rows[i], field, memcmp(said, silent, sizeof said) == 0);
      checked++;
    }
  }
  assert_true(checked > 50);
}

static void defaults_stay_within_the_params(void **state) {
  (void)state;
  static _Alignas(16) char params[OPS_PARAMS];
  size_t count;
  const struct ops_row *const *rows = table_rows(&count);
  for (size_t i = 0; i < count; i++) {
    memset(params, 0x5a, sizeof params);
    if (rows[i]->defaults)
      rows[i]->defaults(params);
    for (size_t k = rows[i]->params_size; k < sizeof params; k++)
      assert_row(rows[i], params[k] == 0x5a);
  }
}

/* ---- paths ---- */

/* As the door splits it: what stands between the slashes. `text` stays theirs. */
static struct ops_match match(const char *method, const char *path) {
  static char text[256];
  char *segments[SEGMENTS];
  size_t count = 0;
  struct ops_match found;
  snprintf(text, sizeof text, "%s", path + 1);
  for (char *at = text; at;) {
    segments[count++] = at;
    at = strchr(at, '/');
    if (at)
      *at++ = 0;
  }
  table_match(method, segments, count, &found);
  return found;
}

/* The path with a value in place of each {…}. */
static void fill_in(const char *path, char *out, size_t size) {
  size_t n = 0;
  for (; *path && n < size - 8; path++) {
    out[n++] = *path;
    if (*path != '{')
      continue;
    n += (size_t)snprintf(out + n - 1, size - n, "cuda:7") - 1;
    path = strchr(path, '}');
  }
  out[n] = 0;
}

static void check_way(const struct ops_row *row, const char *path) {
  char filled[256];
  if (!path)
    return;
  fill_in(path, filled, sizeof filled);
  struct ops_match found = match(ops_methods[row->method], filled);
  assert_row(row, found.status == STATUS_OK && found.row == row);
  for (size_t i = 0; i < OPS_PATH_VALUES; i++)
    assert_row(row, i < row->path_count ? same(found.values[i], "cuda:7") : !found.values[i]);
  found = match("TRACE", filled);
  assert_row(row, found.status == STATUS_METHOD_NOT_ALLOWED && !found.row);
  assert_row(row, strstr(found.allow, ops_methods[row->method]));
}

static void every_path_leads_to_its_row(void **state) {
  (void)state;
  size_t count;
  const struct ops_row *const *rows = table_rows(&count);
  for (size_t i = 0; i < count; i++) {
    check_way(rows[i], rows[i]->path);
    check_way(rows[i], rows[i]->alias);
  }
}

static void an_alias_is_the_same_row(void **state) {
  (void)state;
  struct ops_match found = match("GET", "/api/memory");
  assert_int_equal(found.status, STATUS_OK);
  assert_ptr_equal(found.row, match("GET", "/api/memory/status").row);
}

static void the_path_that_says_more_is_meant(void **state) {
  (void)state;
  assert_string_equal(match("PUT", "/api/memory/pressure/thresholds").row->action,
                      "memory.set_thresholds");
  struct ops_match found = match("GET", "/api/memory/pressure/thresholds");
  assert_int_equal(found.status, STATUS_METHOD_NOT_ALLOWED);
  assert_string_equal(found.allow, "PUT");
  found = match("DELETE", "/api/memory/allocations/allocate");
  assert_int_equal(found.status, STATUS_METHOD_NOT_ALLOWED);
  assert_string_equal(found.allow, "POST");
  found = match("POST", "/api/memory/allocations/a-0000000000000001");
  assert_string_equal(found.allow, "DELETE");
}

static void allow_names_all_methods_of_a_path(void **state) {
  (void)state;
  assert_string_equal(match("POST", "/api/memory/jobs/j-1").allow, "GET, DELETE");
  assert_string_equal(match("PUT", "/api/memory/transfer/t-1").allow, "GET, DELETE");
  assert_string_equal(match("GET", "/api/memory/transfer").allow, "POST");
  assert_string_equal(match("get", "/api/memory/status").allow, "GET");
}

static void anything_else_is_not_found(void **state) {
  (void)state;
  static const char *const paths[] = {
      "/",
      "//",
      "/api",
      "/api/",
      "/api/memory/",
      "/api/memory/statu",
      "/api/memory/statuses",
      "/api/memory/Status",
      "/api/memory/status/",
      "/api/memory/status//",
      "/api/memory/status/host:0/",
      "/api/memory/status/host:0/more",
      "/api/memory//status",
      "//api/memory/status",
      "/memory/status",
      "/api/memory/workers/host",
      "/api/memory/workers//restart",
      "/health/",
      "/healthy",
      "/openapi",
      "/a/b/c/d/e/f/g/h",
  };
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    struct ops_match found = match("GET", paths[i]);
    if (found.status != STATUS_NOT_FOUND || found.row || *found.allow)
      fail_msg("%s is found", paths[i]);
  }
}

/* A value is whatever stands there, also what looks like a path's own words. */
static void a_value_is_any_text(void **state) {
  (void)state;
  static const char *const values[] = {"host:0", "{idDevice}", "}", "status", "..", "a b", "\xff"};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    char path[64];
    snprintf(path, sizeof path, "/api/memory/status/%s", values[i]);
    struct ops_match found = match("GET", path);
    assert_int_equal(found.status, STATUS_OK);
    assert_string_equal(found.values[0], values[i]);
  }
}

/* ---- actions ---- */

static void an_action_leads_to_its_row_without_a_device(void **state) {
  (void)state;
  size_t count;
  const struct ops_row *const *rows = table_rows(&count);
  for (size_t i = 0; i < count; i++) {
    if (!rows[i]->action)
      continue;
    const struct ops_row *row = table_by_action(rows[i]->action);
    assert_non_null(row);
    assert_row(rows[i], same(row->action, rows[i]->action));
    assert_row(rows[i], row->field_count <= rows[i]->field_count);
  }
  assert_ptr_equal(table_by_action("memory.pressure_check"),
                   table_by_action("memory.get_pressure"));
  static const char *const none[] = {"", "memory", "memory.", "memory.get_statu", "MEMORY.FREE"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    assert_null(table_by_action(none[i]));
}

static const struct ops_row *variant(const char *action, const char *text,
                                     enum writer_names names) {
  struct reader_doc *doc;
  struct problem problem;
  assert_int_equal(reader_parse(text, strlen(text), &doc, &problem), STATUS_OK);
  const struct ops_row *row =
      table_variant(table_by_action(action), reader_get(reader_root(doc), "data"), names);
  reader_free(doc);
  return row;
}

static void a_device_in_the_data_is_one_in_the_path(void **state) {
  (void)state;
  const struct ops_row *all = table_by_action("memory.get_status");
  const struct ops_row *one = match("GET", "/api/memory/status/host:0").row;
  static const char snake[] = "{\"data\":{\"device_id\":\"host:0\"}}";
  static const char camel[] = "{\"data\":{\"deviceId\":\"host:0\"}}";
  assert_ptr_equal(variant("memory.get_status", snake, WRITER_SNAKE), one);
  assert_ptr_equal(variant("memory.get_status", camel, WRITER_CAMEL), one);
  assert_ptr_equal(variant("memory.get_status", camel, WRITER_SNAKE), all);
  assert_ptr_equal(variant("memory.get_status", "{\"data\":{}}", WRITER_SNAKE), all);
  assert_ptr_equal(variant("memory.get_status", "{\"data\":[]}", WRITER_SNAKE), all);
  assert_ptr_equal(variant("memory.get_status", "{\"data\":\"device_id\"}", WRITER_SNAKE), all);
  assert_ptr_equal(variant("memory.get_status", "{}", WRITER_SNAKE), all);
  assert_ptr_equal(variant("memory.get_job", snake, WRITER_SNAKE),
                   table_by_action("memory.get_job"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_row_is_whole),
      cmocka_unit_test(no_two_rows_are_one),
      cmocka_unit_test(every_field_is_documented_and_has_its_place),
      cmocka_unit_test(a_documented_default_is_the_default),
      cmocka_unit_test(defaults_stay_within_the_params),
      cmocka_unit_test(every_path_leads_to_its_row),
      cmocka_unit_test(an_alias_is_the_same_row),
      cmocka_unit_test(the_path_that_says_more_is_meant),
      cmocka_unit_test(allow_names_all_methods_of_a_path),
      cmocka_unit_test(anything_else_is_not_found),
      cmocka_unit_test(a_value_is_any_text),
      cmocka_unit_test(an_action_leads_to_its_row_without_a_device),
      cmocka_unit_test(a_device_in_the_data_is_one_in_the_path),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
