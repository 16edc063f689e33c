/*
 * history_transfers: summed up by route, then one walk over each route's rates.
 */
#include <stdio.h>
#include <string.h>

#include "history/history.h"
#include "history/history_inside.h"

static void put_window(struct sql_query *query, const struct history_window *window) {
  sql_put(query, window->from);
  sql_put(query, window->to);
}

/* One route at a time: its rows come slowest first, the failed ones last, so that the middle and
 * the best are found in passing. */
static void read_route(struct sql *sql, const struct history_window *window,
                       struct history_route *route) {
  struct sql_query query;
  uint64_t done = route->count - route->failed, place = 0;
  sql_begin(&query, sql,
            "SELECT bytes*1e9/ns AS rate FROM transfer WHERE time>=? AND time<=? AND source=? AND "
            "target=? AND path=? AND NOT failed AND ns>0 ORDER BY rate LIMIT 50000");
  put_window(&query, window);
  sql_put_text(&query, route->source);
  sql_put_text(&query, route->target);
  sql_put_text(&query, route->path);
  while (sql_next(&query)) {
    route->best_per_second = sql_get(&query, 0);
    if (place++ <= (done ? (done - 1) / 2 : 0))
      route->p50_per_second = route->best_per_second;
  }
  sql_end(&query);
}

uint32_t history_transfers(struct history *history, const struct history_window *window,
                           struct history_route *out, uint32_t max) {
  uint32_t count = 0;
  struct sql_query query;
  if (!history)
    return 0;
  sql_begin(&query, history_sql(history),
            "SELECT source,target,path,count(*),sum(failed),sum(iif(failed,0,bytes)) FROM transfer "
            "WHERE time>=? AND time<=? GROUP BY source,target,path");
  put_window(&query, window);
  for (; count < max && sql_next(&query); count++) {
    struct history_route *route = &out[count];
    memset(route, 0, sizeof *route);
    snprintf(route->source, sizeof route->source, "%s", sql_get_text(&query, 0));
    snprintf(route->target, sizeof route->target, "%s", sql_get_text(&query, 1));
    snprintf(route->path, sizeof route->path, "%s", sql_get_text(&query, 2));
    route->count = sql_get(&query, 3);
    route->failed = sql_get(&query, 4);
    route->bytes = sql_get(&query, 5);
  }
  sql_end(&query);
  for (uint32_t i = 0; i < count; i++)
    read_route(history_sql(history), window, &out[i]);
  history_asked(history);
  return count;
}
