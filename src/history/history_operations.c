/*
 * history_operations: rows of minutes or of hours, summed up by action.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "history/history.h"
#include "history/history_inside.h"
#include "history/records.h"

#define MINUTES_UP_TO (UINT64_C(6) * 3600 * CLOCK_SECOND) /* a longer window is read from hours */

static struct history_operation *operation_of(const char *action, struct history_operation *out,
                                              uint32_t *count, uint32_t max) {
  uint32_t i = 0;
  while (i < *count && strcmp(out[i].action, action) != 0)
    i++;
  if (i == max)
    return NULL;
  if (i == *count) {
    memset(&out[i], 0, sizeof out[i]);
    snprintf(out[i].action, sizeof out[i].action, "%s", action);
    ++*count;
  }
  return &out[i];
}

static int by_action(const void *a, const void *b) {
  return strcmp(((const struct history_operation *)a)->action,
                ((const struct history_operation *)b)->action);
}

uint32_t history_operations(struct history *history, const struct history_window *window,
                            struct history_operation *out, uint32_t max) {
  uint32_t count = 0;
  struct sql_query query;
  if (!history)
    return 0;
  uint64_t tier =
      units_minus(window->to, window->from) > MINUTES_UP_TO ? RECORDS_HOUR : RECORDS_MINUTE;
  uint64_t from = window->from / CLOCK_SECOND;
  sql_begin(&query, history_sql(history),
            "SELECT action,errors,sum,peak,buckets FROM operation WHERE tier=? AND time>=? AND "
            "time<=? ORDER BY time");
  sql_put(&query, tier);
  sql_put(&query, from - from % tier);
  sql_put(&query, window->to / CLOCK_SECOND);
  while (sql_next(&query)) {
    struct history_operation *sum = operation_of(sql_get_text(&query, 0), out, &count, max);
    if (!sum)
      continue;
    size_t size;
    sum->errors += sql_get(&query, 1);
    sum->sum_ns += sql_get(&query, 2);
    sum->max_ns = units_max(sum->max_ns, sql_get(&query, 3));
    const void *bytes = sql_get_bytes(&query, 4, &size);
    records_unpack(sum->buckets, bytes, size);
  }
  sql_end(&query);
  history_asked(history);
  for (uint32_t i = 0; i < count; i++)
    for (unsigned bucket = 0; bucket < HISTORY_BUCKETS; bucket++)
      out[i].count += out[i].buckets[bucket];
  if (count)
    qsort(out, count, sizeof *out, by_action);
  return count;
}
