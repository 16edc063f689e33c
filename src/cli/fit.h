/*
 * fit: which columns of a table stand in a terminal that is too narrow for all of them, and how
 * wide: what matters least goes, and text that says enough by its beginning is shortened. A pure
 * function.
 */
#ifndef CLI_FIT_H
#define CLI_FIT_H

#include <stdbool.h>
#include <stddef.h>

struct fit_column {
  size_t width;  /* in: of its widest cell; out: what it gets */
  size_t least;  /* what it may be shortened to; what is not below `width`: it stays whole */
  unsigned rank; /* 0: it never goes; else the highest goes first, and equal ones together */
  bool gone;     /* out */
};

/* Into `room`, with `gap` between two. What never goes may still be wider than that. */
void fit(struct fit_column *columns, size_t count, size_t gap, size_t room);
/* How wide a table of these columns is. */
size_t fit_width(const struct fit_column *columns, size_t count, size_t gap);

#endif
