/*
 * openapi: the rows that have a path, grouped by it. Nothing is said here that the table does not
 * say already.
 */
#include "ops/openapi.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "ops/ops.h"
#include "ops/schema.h"
#include "ops/table.h"

/* ---- fields ---- */

static void write_default(struct writer *w, const struct reader_field *field) {
  if (!field->otherwise)
    return;
  if (field->type == READER_UINT || field->type == READER_INT || field->type == READER_BOOL ||
      field->type == READER_DOUBLE)
    writer_raw(w, "default", field->otherwise, strlen(field->otherwise));
  else
    writer_text(w, "default", field->otherwise);
}

static void write_words(struct writer *w, const char *const *words) {
  writer_array(w, "enum");
  for (; *words; words++)
    writer_text(w, NULL, *words);
  writer_end(w);
}

static const char *type_of(enum reader_type type) {
  static const char *const types[] = {
      [READER_UINT] = "integer",  [READER_INT] = "integer", [READER_BOOL] = "boolean",
      [READER_TEXT] = "string",   [READER_WORD] = "string", [READER_ID] = "string",
      [READER_DOUBLE] = "number", [READER_RAW] = "array"};
  return types[type];
}

static void write_schema(struct writer *w, const char *key, const struct reader_field *field) {
  writer_object(w, key);
  writer_text(w, "type", type_of(field->type));
  if (field->type == READER_UINT) {
    writer_uint(w, "minimum", field->min);
    if (field->max)
      writer_uint(w, "maximum", field->max);
  }
  if (field->type == READER_TEXT)
    writer_uint(w, "maxLength", field->size - 1);
  if (field->type == READER_WORD)
    write_words(w, field->words);
  if (field->type == READER_ID) {
    char pattern[32];
    snprintf(pattern, sizeof pattern, "^%c-[0-9a-f]{16}$", field->prefix);
    writer_text(w, "pattern", pattern);
  }
  write_default(w, field);
  writer_text(w, "description", field->doc);
  writer_end(w);
}

/* `name` of a path's parameter is what stands in its braces. */
static void write_parameter(struct writer *w, const struct reader_field *field, const char *name,
                            const char *in) {
  writer_object(w, NULL);
  writer_text(w, "name", name);
  writer_text(w, "in", in);
  if (strcmp(in, "path") == 0 || field->required)
    writer_bool(w, "required", true);
  write_schema(w, "schema", field);
  writer_end(w);
}

static void write_parameters(struct writer *w, const struct ops_row *row, const char *path) {
  if (!(row->path_count + row->query_count))
    return;
  writer_array(w, "parameters");
  const struct reader_field *field = row->fields;
  for (size_t i = 0; i < row->path_count; i++, field++) {
    char name[48];
    path = strchr(path, '{') + 1;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(path, "}"), path);
    write_parameter(w, field, name, "path");
  }
  for (size_t i = 0; i < row->query_count; i++, field++)
    write_parameter(w, field, field->name, "query");
  writer_end(w);
}

static bool any_required(const struct reader_field *fields, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (fields[i].required)
      return true;
  return false;
}

static void write_properties(struct writer *w, const struct reader_field *fields, size_t count) {
  writer_object(w, "schema");
  writer_text(w, "type", "object");
  writer_bool(w, "additionalProperties", false);
  writer_object(w, "properties");
  for (size_t i = 0; i < count; i++)
    write_schema(w, fields[i].name, &fields[i]);
  writer_end(w);
  if (any_required(fields, count)) {
    writer_array(w, "required");
    for (size_t i = 0; i < count; i++)
      if (fields[i].required)
        writer_text(w, NULL, fields[i].name);
    writer_end(w);
  }
  writer_end(w);
}

static void write_body(struct writer *w, const struct ops_row *row) {
  size_t outside = row->path_count + row->query_count, count = row->field_count - outside;
  if (!count)
    return;
  writer_object(w, "requestBody");
  writer_bool(w, "required", any_required(row->fields + outside, count));
  writer_object(w, "content");
  writer_object(w, "application/json");
  write_properties(w, row->fields + outside, count);
  writer_end(w);
  writer_end(w);
  writer_end(w);
}

/* ---- answers ---- */

static void write_data(struct writer *w, const char *schema, const char *dry_schema) {
  if (!dry_schema) {
    schema_write_ref(w, "data", schema);
    return;
  }
  writer_object(w, "data");
  writer_array(w, "anyOf");
  schema_write_ref(w, NULL, schema);
  schema_write_ref(w, NULL, dry_schema);
  writer_end(w);
  writer_end(w);
}

static void write_raw(struct writer *w, const char *key, const char *json) {
  writer_raw(w, key, json, strlen(json));
}

static void write_envelope(struct writer *w, const char *schema, const char *dry_schema) {
  writer_object(w, "schema");
  writer_text(w, "type", "object");
  writer_object(w, "properties");
  write_raw(w, "success", "{\"const\":true}");
  write_data(w, schema, dry_schema);
  write_raw(w, "message", "{\"type\":\"string\"}");
  write_raw(w, "error", "{\"type\":\"null\"}");
  write_raw(w, "timestamp", "{\"type\":\"string\",\"format\":\"date-time\"}");
  write_raw(w, "correlationId", "{\"type\":\"string\"}");
  writer_end(w);
  write_raw(w, "required",
            "[\"success\",\"data\",\"message\",\"error\",\"timestamp\",\"correlationId\"]");
  writer_end(w);
}

static void write_success(struct writer *w, const struct ops_row *row) {
  writer_object(w, "200");
  writer_text(w, "description", row->answer);
  writer_object(w, "content");
  writer_object(w, row->type ? row->type : "application/json");
  if (row->schema)
    write_envelope(w, row->schema, row->dry_schema);
  else
    write_raw(w, "schema", row->type ? "{\"type\":\"string\"}" : "{\"type\":\"object\"}");
  writer_end(w);
  writer_end(w);
  writer_end(w);
}

static void write_started(struct writer *w, const struct ops_row *row) {
  writer_object(w, "202");
  writer_text(w, "description", "Started; ask for the job");
  writer_object(w, "content");
  writer_object(w, "application/json");
  write_envelope(w, row->started_schema ? row->started_schema : "Job", NULL);
  writer_end(w);
  writer_end(w);
  writer_end(w);
}

static void write_failure(struct writer *w) {
  writer_object(w, "default");
  writer_text(w, "description", "An error; error.code says which");
  writer_object(w, "content");
  writer_object(w, "application/json");
  schema_write_ref(w, "schema", "Failure");
  writer_end(w);
  writer_end(w);
  writer_end(w);
}

static void write_answers(struct writer *w, const struct ops_row *row) {
  writer_object(w, "responses");
  write_success(w, row);
  if (row->starts)
    write_started(w, row);
  write_failure(w);
  writer_end(w);
}

/* ---- paths ---- */

/* The action, where the socket knows this row by it; else get_api_memory_status_idDevice. */
static void write_id(struct writer *w, const struct ops_row *row, const char *path) {
  if (row->action && path == row->path && table_by_action(row->action) == row) {
    writer_text(w, "operationId", row->action);
    return;
  }
  char id[160];
  size_t n = 0;
  for (const char *at = ops_methods[row->method]; *at; at++)
    id[n++] = (char)tolower((unsigned char)*at);
  for (; *path && n < sizeof id - 1; path++)
    if (*path != '{' && *path != '}')
      id[n++] = (char)(isalnum((unsigned char)*path) ? *path : '_');
  writer_text_n(w, "operationId", id, n);
}

static void write_operation(struct writer *w, const struct ops_row *row, const char *path) {
  char method[8] = "";
  for (size_t i = 0; ops_methods[row->method][i]; i++)
    method[i] = (char)tolower((unsigned char)ops_methods[row->method][i]);
  writer_object(w, method);
  write_id(w, row, path);
  writer_text(w, "summary", row->summary);
  write_parameters(w, row, path);
  write_body(w, row);
  write_answers(w, row);
  writer_end(w);
}

static bool has_path(const struct ops_row *row, const char *path) {
  return row->path &&
         (strcmp(row->path, path) == 0 || (row->alias && strcmp(row->alias, path) == 0));
}

static void write_path(struct writer *w, const char *path) {
  size_t count;
  const struct ops_row *const *rows = table_rows(&count);
  writer_key(w, path);
  writer_object(w, NULL);
  for (size_t i = 0; i < count; i++)
    if (has_path(rows[i], path))
      write_operation(w, rows[i], path);
  writer_end(w);
}

static bool seen_before(const struct ops_row *const *rows, size_t end, const char *path) {
  for (size_t i = 0; i < end; i++)
    if (has_path(rows[i], path))
      return true;
  return false;
}

void openapi_write(struct buf *out) {
  size_t count;
  const struct ops_row *const *rows = table_rows(&count);
  struct writer w;
  writer_init(&w, out, WRITER_CAMEL);
  writer_object(&w, NULL);
  writer_text(&w, "openapi", "3.1.0");
  writer_object(&w, "info");
  writer_text(&w, "title", "Memkeep");
  writer_text(&w, "version", VERSION_TEXT);
  writer_text(&w, "description", "The keeper of a host's accelerator memory");
  writer_end(&w);
  writer_object(&w, "paths");
  for (size_t i = 0; i < count; i++) {
    if (rows[i]->path && !seen_before(rows, i, rows[i]->path))
      write_path(&w, rows[i]->path);
    if (rows[i]->alias && !seen_before(rows, i, rows[i]->alias))
      write_path(&w, rows[i]->alias);
  }
  writer_end(&w);
  writer_object(&w, "components");
  writer_object(&w, "schemas");
  schema_write_all(&w);
  writer_end(&w);
  writer_end(&w);
  writer_end(&w);
}
