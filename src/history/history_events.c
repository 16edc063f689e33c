/*
 * history_events: rows as they are.
 */
#include <stdio.h>

#include "history/history.h"
#include "history/history_inside.h"

static void read_event(const struct sql_query *query, struct history_event *event) {
  *event = (struct history_event){.time = sql_get(query, 0),
                                  .subject = sql_get(query, 3),
                                  .bytes = sql_get(query, 4),
                                  .other = sql_get(query, 5)};
  snprintf(event->type, sizeof event->type, "%s", sql_get_text(query, 1));
  snprintf(event->device, sizeof event->device, "%s", sql_get_text(query, 2));
  snprintf(event->text, sizeof event->text, "%s", sql_get_text(query, 6));
}

uint32_t history_events(struct history *history, const struct history_window *window,
                        struct history_event *out, uint32_t max) {
  uint32_t count = 0;
  struct sql_query query;
  if (!history)
    return 0;
  sql_begin(&query, history_sql(history),
            "SELECT * FROM(SELECT time,type,device,subject,bytes,other,text,id FROM event WHERE "
            "time>=? AND time<=? AND (?3='' OR device=?3) ORDER BY id DESC LIMIT ?4)ORDER BY id");
  sql_put(&query, window->from);
  sql_put(&query, window->to);
  sql_put_text(&query, window->device ? window->device : "");
  sql_put(&query, max);
  while (count < max && sql_next(&query))
    read_event(&query, &out[count++]);
  sql_end(&query);
  history_asked(history);
  return count;
}
