/*
 * list: what is compared is looked up once for each row, not at each comparison.
 */
#include "cli/top/list.h"

#include <stdlib.h>
#include <string.h>

/* Where the pages of a pane are. */
static const struct {
  enum top_part first;
  int count;
} parts[TOP_PANES] = {[TOP_DEVICES] = {TOP_STATUS, 1},
                      [TOP_BLOCKS] = {TOP_ALLOCATIONS, TOP_PAGES_MAX},
                      [TOP_WEIGHTS] = {TOP_MODELS, 1},
                      [TOP_MOVES] = {TOP_TRANSFERS, 1}};

static struct reader_value page_of(const struct top_snapshot *snapshot, enum top_pane pane,
                                   int page) {
  enum top_part part = (enum top_part)((int)parts[pane].first + page);
  return top_snapshot_data(snapshot, part);
}

static bool matches(const struct top_snapshot *snapshot, const struct top_order *order,
                    struct reader_value row) {
  char text[TOP_CELL];
  const struct top_column *column = top_columns[order->pane].columns;
  if (!*order->filter)
    return true;
  for (; column->header; column++) {
    bool drawn = column->kind == TOP_BAR || column->kind == TOP_PROGRESS;
    if (!drawn &&
        strcasestr(top_columns_text(snapshot, column, row, text, sizeof text), order->filter))
      return true;
  }
  return false;
}

/* ---- order ---- */

static void look(struct top_row *row, const struct top_order *order) {
  const struct top_columns *columns = &top_columns[order->pane];
  row->id = reader_text(reader_get(row->value, columns->id), "");
  row->number = 0;
  row->text = "";
  if (order->column < 0)
    return;
  const struct top_column *column = &columns->columns[order->column];
  struct reader_value value =
      top_columns_get(row->value, column->kind == TOP_OWNER ? "owner.name" : column->member);
  row->number = reader_double(value, 0);
  row->text = reader_text(value, "");
}

/* The later a time, the smaller its age. */
static bool is_age(const struct top_order *order) {
  return top_columns[order->pane].columns[order->column].kind == TOP_AGE;
}

static int compare(const void *a, const void *b, void *arg) {
  const struct top_row *one = a, *other = b;
  const struct top_order *order = arg;
  int way = (one->number > other->number) - (one->number < other->number);
  if (!way)
    way = strcasecmp(one->text, other->text);
  if (!way && is_age(order)) /* of the same millisecond: ids only grow */
    way = strcmp(one->id, other->id);
  if (order->descending != is_age(order))
    way = -way;
  return way ? way : strcmp(one->id, other->id);
}

/* ---- rows ---- */

static size_t count_rows(const struct top_snapshot *snapshot, enum top_pane pane) {
  size_t count = 0;
  for (int i = 0; i < parts[pane].count; i++)
    count += reader_count(reader_get(page_of(snapshot, pane, i), top_columns[pane].list));
  return count;
}

static void take_page(struct top_list *list, const struct top_snapshot *snapshot,
                      const struct top_order *order, struct reader_value page) {
  struct reader_value rows = reader_get(page, top_columns[order->pane].list);
  for (size_t i = 0; i < reader_count(rows); i++) {
    struct top_row row = {.value = reader_at(rows, i)};
    if (!matches(snapshot, order, row.value))
      continue;
    look(&row, order);
    list->rows[list->count++] = row;
  }
  if (page.json)
    list->whole = !reader_text(reader_get(page, "nextCursor"), NULL);
}

void top_list_make(struct top_list *list, const struct top_snapshot *snapshot,
                   const struct top_order *order) {
  top_list_done(list);
  list->whole = true;
  list->read = count_rows(snapshot, order->pane);
  list->rows = list->read ? calloc(list->read, sizeof *list->rows) : NULL;
  if (!list->rows)
    return;
  for (int i = 0; i < parts[order->pane].count; i++)
    take_page(list, snapshot, order, page_of(snapshot, order->pane, i));
  if (order->column >= 0)
    qsort_r(list->rows, list->count, sizeof *list->rows, compare, (void *)order);
}

void top_list_done(struct top_list *list) {
  free(list->rows);
  *list = (struct top_list){.rows = NULL};
}

size_t top_list_find(const struct top_list *list, const char *id) {
  size_t i = 0;
  while (i < list->count && strcmp(list->rows[i].id, id) != 0)
    i++;
  return i;
}
