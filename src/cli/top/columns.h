/*
 * columns: what stands in which column of which list, and how it is written there.
 */
#ifndef CLI_TOP_COLUMNS_H
#define CLI_TOP_COLUMNS_H

#include "cli/top/snapshot.h"

#define TOP_COLUMNS_MAX 14
#define TOP_CELL 512 /* the text of one, with its NUL */

enum top_pane { TOP_DEVICES, TOP_BLOCKS, TOP_WEIGHTS, TOP_MOVES, TOP_PANES };

enum top_kind {
  TOP_MEMBER,   /* as everywhere in the CLI, by the end of its name */
  TOP_AGE,      /* how long ago a time was */
  TOP_OWNER,    /* who answers for it */
  TOP_FORECAST, /* when a device will be full */
  TOP_BAR,      /* a device's memory, drawn */
  TOP_PROGRESS  /* drawn */
};

struct top_column {
  const char *header, *member; /* "pressure.level" is inside of pressure */
  enum top_kind kind;
  int width;        /* in columns; the least, if it grows */
  int rank;         /* 0 stays; where there is no room, the highest goes first */
  bool right;       /* its text stands there */
  bool grows;       /* what room is left, it takes */
  bool sorts;       /* rows can be in order of it */
  const char *word; /* the daemon's for that order; NULL: it has none */
};

struct top_columns {
  const char *title;
  const char *list, *id;            /* members: of the answer, of a row */
  const struct top_column *columns; /* ends with one without a header */
  int sort;                         /* the column of the order at first, largest first; -1: none */
};

extern const struct top_columns top_columns[TOP_PANES];

/* A member; "a.b" is b inside of a. */
struct reader_value top_columns_get(struct reader_value row, const char *member);
/* What stands in a cell; not for drawn ones. Returns out. */
const char *top_columns_text(const struct top_snapshot *snapshot, const struct top_column *column,
                             struct reader_value row, char *out, size_t size);
/* "59s", "12m", "3h", "45d". Returns out. */
const char *top_columns_age(uint64_t seconds, char *out, size_t size);

#endif
