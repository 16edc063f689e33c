/*
 * table: all rows, and what a path or an action means.
 */
#ifndef OPS_TABLE_H
#define OPS_TABLE_H

#include "ops/ops.h"

const struct ops_row *const *table_rows(size_t *count);
const struct ops_row *table_by_action(const char *action);
void table_match(const char *method, char *const *segments, size_t count, struct ops_match *out);
/* The row of the same action that takes a device in its path, when `data` names one; else `row`. */
const struct ops_row *table_variant(const struct ops_row *row, struct reader_value data,
                                    enum writer_names names);

#endif
