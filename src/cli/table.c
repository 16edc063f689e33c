/*
 * table: the one file that includes what was generated.
 */
#include "cli/table.h"

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

static bool same(const char *field, const char *name) {
  while (*field && (*field == *name || (*field == '_' && *name == '-'))) {
    field++;
    name++;
  }
  return !*field && !*name;
}

int table_field(const struct cli_operation *operation, const char *name) {
  for (size_t i = 0; i < operation->field_count; i++)
    if (same(operation->fields[i].name, name))
      return (int)i;
  return -1;
}
