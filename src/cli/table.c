/*
 * table: the one file that includes what was generated.
 */
#include "cli/table.h"

#include <ctype.h>
#include <string.h>

#include "base/clock.h"
#include "gen/cli_table.h"

#define OPERATIONS (sizeof cli_operations / sizeof *cli_operations)

const struct cli_operation *table_operations(size_t *count) {
  *count = OPERATIONS;
  return cli_operations;
}

const struct cli_operation *table_find(const char *action) {
  for (size_t i = 0; i < OPERATIONS; i++)
    if (strcmp(cli_operations[i].action, action) == 0)
      return &cli_operations[i];
  return NULL;
}

static bool joins(char c) { return c == '_' || c == '-'; }

/* size_bytes, size-bytes and sizeBytes are one. */
bool table_same(const char *field, const char *name) {
  while (*field && *name) {
    field += joins(*field);
    name += joins(*name);
    if (*field++ != tolower((unsigned char)*name++))
      return false;
  }
  return !*field && !*name;
}

int table_field(const struct cli_operation *operation, const char *name) {
  for (size_t i = 0; i < operation->field_count; i++)
    if (table_same(operation->fields[i].name, name))
      return (int)i;
  return -1;
}

bool table_is_size(const struct cli_field *field) {
  const char *bytes = strstr(field->name, "_bytes");
  return *field->type == 'u' && bytes && (!bytes[6] || bytes[6] == '_');
}

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

uint64_t table_time_unit(const struct cli_field *field) {
  if (*field->type != 'u')
    return 0;
  if (ends_with(field->name, "_ms"))
    return CLOCK_MS;
  bool seconds = ends_with(field->name, "_seconds") || strcmp(field->name, "timeout") == 0;
  return seconds ? CLOCK_SECOND : 0;
}

const char *table_value(const struct cli_field *field) {
  static const struct {
    const char *type, *value;
  } values[] = {{"uint", "N"}, {"int", "N"}, {"number", "N"},  {"word", "WORD"},
                {"id", "ID"},  {"bool", ""}, {"json", "JSON"}, {"text", "TEXT"}};
  if (table_is_size(field))
    return "SIZE";
  if (table_time_unit(field))
    return "TIME";
  for (size_t i = 0; i < sizeof values / sizeof *values; i++)
    if (strcmp(field->type, values[i].type) == 0)
      return values[i].value;
  return "TEXT";
}

bool table_is_on(const struct cli_field *field) {
  return *field->type == 'b' && field->otherwise && strcmp(field->otherwise, "true") == 0;
}
