/*
 * paint: text for people: tables, sizes, and colours where they are wanted.
 */
#ifndef CLI_PAINT_H
#define CLI_PAINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/reader.h"

#define PAINT_COLUMNS 16

/* Columns are as wide as their widest cell. Where a terminal is too narrow, what matters least is
 * not shown; what is no terminal gets all. Before a header's name may stand, in this order: a digit
 * (the column may go; the highest goes first), and '>' (to the right), '~' (text, which may be
 * shortened: never what is to be said to the daemon again) or '=' (of the last: a sentence, which
 * goes on below). */
struct paint_table {
  const char *const *headers; /* NULL-terminated */
  size_t columns, cells, indent;
  bool whole;      /* nothing may be left out: rather no table */
  struct buf text; /* the cells, each with its NUL */
};

void paint_begin(struct paint_table *table, const char *const *headers);
void paint_cell(struct paint_table *table, const char *text);
/* A member of an object, by its name: …Bytes is a size, …Percent has its sign, null is "-". */
void paint_member(struct paint_table *table, struct reader_value object, const char *name);
/* Prints it to stdout, and frees it. False: it had to be whole, and there is no room. */
bool paint_end(struct paint_table *table);

/* A part of a line. */
struct paint_piece {
  const char *text;
  size_t least;  /* it may be shortened to so many columns; 0: never */
  unsigned rank; /* 0: it stays; else the highest goes first */
};
/* A line to stdout, no longer than a terminal is wide; what is no terminal gets all. */
void paint_line(const struct paint_piece *pieces, size_t count);

/* In columns of the screen; 0 is its left edge. */
struct paint_place {
  int indent; /* where lines after the first begin */
  int at;     /* where the cursor stands */
  int edge;   /* no word goes beyond it, unless it is alone in its line */
};

/* Words up to the edge, then on in the next line. */
void paint_words(FILE *out, const char *text, struct paint_place place);

/* A value, or a member, as above, as text. Returns out. */
const char *paint_value(const char *name, struct reader_value value, char *out, size_t size);
const char *paint_text(struct reader_value object, const char *name, char *out, size_t size);
/* Everything in an object, a line each, what is inside of it indented; "done" if that is nothing.
 */
void paint_all(struct reader_value object);

enum paint_mood { PAINT_NEUTRAL, PAINT_GOOD, PAINT_WARNING, PAINT_BAD };
/* Of a word of the contract: "healthy", "failed", … */
enum paint_mood paint_mood(const char *word);
/* Whether colours and bars are wanted on a descriptor: a terminal, and no NO_COLOR. */
bool paint_lively(int fd);

#endif
