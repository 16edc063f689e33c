/*
 * table: what the daemon can do, as the build made it from ops' own table (gen/cli_table.h).
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli_field {
  const char *name; /* snake_case */
  const char *type; /* uint int bool text word id number json */
  bool required;
  const char *otherwise; /* the default, NULL: none */
  const char *doc;
};

struct cli_operation {
  const char *action, *summary;
  const struct cli_field *fields;
  size_t field_count; /* at most 64 */
};

const struct cli_operation *table_operations(size_t *count);
/* NULL: none of that name. */
const struct cli_operation *table_find(const char *action);
/* The index of a field, also by size-bytes or sizeBytes; -1: none. */
int table_field(const struct cli_operation *operation, const char *name);
/* Whether `name` is this one of the table's names, in any of these forms. */
bool table_same(const char *field, const char *name);
/* Of bytes: a size with a unit may be said. */
bool table_is_size(const struct cli_field *field);
/* In how many nanoseconds it counts when it is a time (a time with a unit may be said); else 0. */
uint64_t table_time_unit(const struct cli_field *field);
/* What a person says for a field: "SIZE", "TIME", "N", "TEXT", …; "" for a bool, whose flag is
 * enough. */
const char *table_value(const struct cli_field *field);
/* A bool that is true unless it is said otherwise: its flag is --no-…. */
bool table_is_on(const struct cli_field *field);

#endif
