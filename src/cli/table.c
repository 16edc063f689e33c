/*
 * table: the one file that includes what was generated.
 */
#include "cli/table.h"

#include <ctype.h>
#include <string.h>

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
static bool same(const char *field, const char *name) {
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
    if (same(operation->fields[i].name, name))
      return (int)i;
  return -1;
}
