/*
 * history_uses: who was asked for, in that order.
 */
#include "history/history.h"
#include "history/history_inside.h"

uint32_t history_uses(struct history *history, uint64_t *out, uint32_t max) {
  uint32_t count = 0;
  struct sql_query query;
  if (!history)
    return 0;
  sql_begin(&query, history_sql(history),
            "SELECT who FROM(SELECT who,id FROM use ORDER BY id DESC LIMIT ?)ORDER BY id");
  sql_put(&query, max);
  while (count < max && sql_next(&query))
    out[count++] = sql_get(&query, 0);
  sql_end(&query);
  history_asked(history);
  return count;
}
