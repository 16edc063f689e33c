/*
 * list: the rows of a pane, as a person wants to see them: those that match, in their order. It
 * borrows from a snapshot.
 */
#ifndef CLI_TOP_LIST_H
#define CLI_TOP_LIST_H

#include <stdbool.h>

#include "cli/top/columns.h"

struct top_row {
  struct reader_value value;
  const char *id;   /* "": it has none */
  double number;    /* what the order looks at: */
  const char *text; /* a number, or else a text */
};

struct top_list {
  struct top_row *rows;
  size_t count;
  size_t read; /* rows there were before the filter */
  bool whole;  /* the daemon has no more of them */
};

struct top_order {
  enum top_pane pane;
  int column; /* of top_columns; -1: as the daemon said them */
  bool descending;
  const char *filter; /* in some cell, in any case of letters; "": all rows */
};

/* In place of what was there (all zero at first). Rows that are equal stay in the order of ids. */
void top_list_make(struct top_list *list, const struct top_snapshot *snapshot,
                   const struct top_order *order);
void top_list_done(struct top_list *list);
/* The index of an id, else count. */
size_t top_list_find(const struct top_list *list, const char *id);

#endif
