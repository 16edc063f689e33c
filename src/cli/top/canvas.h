/*
 * canvas: the picture of a screen, cell by cell, before any terminal has it. Text may come from
 * anybody: what would steer a terminal never gets into a cell, and nothing is written outside of
 * its span. Widths are columns of a terminal, as the C library's locale knows them.
 */
#ifndef CLI_TOP_CANVAS_H
#define CLI_TOP_CANVAS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define TOP_SIDE_MAX 1000 /* columns or rows; what a terminal has beyond stays empty */

enum top_style {
  TOP_PLAIN,
  TOP_DIM,
  TOP_BOLD,
  TOP_HEADER,
  TOP_GOOD,
  TOP_WARNING,
  TOP_BAD,
  TOP_USED,
  TOP_CACHED,
  TOP_EXTERNAL,
  TOP_RESERVED,
  TOP_STYLES
};

struct top_cell {
  uint32_t glyph; /* a character; 0: the right half of the one before */
  uint8_t style;
  bool marked; /* of the row that is chosen */
};

struct top_canvas {
  int width, height;
  bool ascii; /* the terminal knows no more */
  struct top_cell *cells;
};

struct top_span {
  int row, column, width;
};

/* An empty picture, in place of what was there (all zero at first); false: no memory, and it has no
 * cells. */
bool top_canvas_begin(struct top_canvas *canvas, int width, int height);
void top_canvas_done(struct top_canvas *canvas);

/* Puts text into a span; what does not fit ends in an ellipsis. Returns how many columns it took.
 */
int top_canvas_put(struct top_canvas *canvas, struct top_span span, enum top_style style,
                   const char *text);
/* The same, against the span's right end. */
void top_canvas_put_right(struct top_canvas *canvas, struct top_span span, enum top_style style,
                          const char *text);
/* One character over all of a span. */
void top_canvas_fill(struct top_canvas *canvas, struct top_span span, enum top_style style,
                     uint32_t glyph);
void top_canvas_mark(struct top_canvas *canvas, int row);
/* How many columns a text takes; of what could steer a terminal, one for each byte or character. */
int top_canvas_width(const struct top_canvas *canvas, const char *text);
/* A character in UTF-8; returns how many bytes. */
size_t top_canvas_encode(uint32_t glyph, char out[4]);
/* A row as text, without the blanks at its end; appended. */
void top_canvas_read(const struct top_canvas *canvas, int row, struct buf *out);

#endif
