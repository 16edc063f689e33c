/*
 * fit: columns go, rank by rank, until the rest would fit if it were shortened as far as it may be;
 * then the widest is shortened, a step at a time, no further than is needed.
 */
#include "cli/fit.h"

static size_t least_of(const struct fit_column *column) {
  return column->least < column->width ? column->least : column->width;
}

static size_t sum(const struct fit_column *columns, size_t count, size_t gap, bool shortened) {
  size_t width = 0, shown = 0;
  for (size_t i = 0; i < count; i++) {
    if (columns[i].gone)
      continue;
    width += shortened ? least_of(&columns[i]) : columns[i].width;
    shown++;
  }
  return width + (shown ? (shown - 1) * gap : 0);
}

size_t fit_width(const struct fit_column *columns, size_t count, size_t gap) {
  return sum(columns, count, gap, false);
}

/* Those of the highest rank go; false: what is left stays. */
static bool drop(struct fit_column *columns, size_t count) {
  unsigned highest = 0;
  for (size_t i = 0; i < count; i++)
    if (!columns[i].gone && columns[i].rank > highest)
      highest = columns[i].rank;
  for (size_t i = 0; highest && i < count; i++)
    columns[i].gone |= columns[i].rank == highest;
  return highest;
}

/* The widest that may still be shortened; NULL: none. */
static struct fit_column *next_to_shorten(struct fit_column *columns, size_t count) {
  struct fit_column *next = NULL;
  for (size_t i = 0; i < count; i++) {
    bool may = !columns[i].gone && columns[i].width > least_of(&columns[i]);
    if (may && (!next || columns[i].width > next->width))
      next = &columns[i];
  }
  return next;
}

void fit(struct fit_column *columns, size_t count, size_t gap, size_t room) {
  struct fit_column *column;
  while (sum(columns, count, gap, true) > room && drop(columns, count))
    ;
  while (sum(columns, count, gap, false) > room && (column = next_to_shorten(columns, count)))
    column->width--;
}
