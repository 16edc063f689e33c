/*
 * canvas: a character is put when the locale says that it takes one column or two. Control
 * characters, and bytes that are no UTF-8, come out as '?'; what takes no column (accents that
 * combine, marks that turn the direction of writing) is left out, for it would change its
 * neighbours.
 */
#include "cli/top/canvas.h"

#include <stdlib.h>

#include "cli/glyph.h"

bool top_canvas_begin(struct top_canvas *canvas, int width, int height) {
  width = width < TOP_SIDE_MAX ? width : TOP_SIDE_MAX;
  height = height < TOP_SIDE_MAX ? height : TOP_SIDE_MAX;
  if (!canvas->cells || width != canvas->width || height != canvas->height) {
    free(canvas->cells);
    canvas->cells = malloc((size_t)width * (size_t)height * sizeof *canvas->cells);
  }
  canvas->width = canvas->cells ? width : 0;
  canvas->height = canvas->cells ? height : 0;
  for (int i = 0; i < canvas->width * canvas->height; i++)
    canvas->cells[i] = (struct top_cell){.glyph = ' '};
  return canvas->cells;
}

void top_canvas_done(struct top_canvas *canvas) {
  free(canvas->cells);
  *canvas = (struct top_canvas){.cells = NULL};
}

/* ---- characters ---- */

/* The columns of a character, which becomes one that may be shown. 0: it is left out. */
static int settle(const struct top_canvas *canvas, uint32_t *glyph) {
  int width = glyph_width(*glyph);
  bool controls = *glyph < 0x20 || *glyph == 0x7f || width < 0;
  if (controls || (canvas->ascii && *glyph >= 0x80)) {
    *glyph = GLYPH_STRANGE;
    return 1;
  }
  return width;
}

int top_canvas_width(const struct top_canvas *canvas, const char *text) {
  int width = 0;
  while (*text && width < TOP_SIDE_MAX) {
    uint32_t glyph = glyph_next(&text);
    width += settle(canvas, &glyph);
  }
  return width;
}

/* ---- cells ---- */

/* A span that lies on the canvas; width 0: nothing of it does. */
static struct top_span clip(const struct top_canvas *canvas, struct top_span span) {
  bool outside = span.row < 0 || span.row >= canvas->height || span.column < 0;
  int room = outside ? 0 : canvas->width - span.column;
  span.width = span.width < room ? span.width : room;
  span.width = span.width > 0 ? span.width : 0;
  return span;
}

static void set(struct top_canvas *canvas, struct top_span at, enum top_style style,
                uint32_t glyph) {
  struct top_cell *cell = &canvas->cells[at.row * canvas->width + at.column];
  cell->glyph = glyph;
  cell->style = (uint8_t)style;
}

int top_canvas_put(struct top_canvas *canvas, struct top_span span, enum top_style style,
                   const char *text) {
  span = clip(canvas, span);
  bool cut = top_canvas_width(canvas, text) > span.width;
  int taken = 0, room = span.width - (cut && span.width ? 1 : 0);
  while (*text && span.width) {
    uint32_t glyph = glyph_next(&text);
    int width = settle(canvas, &glyph);
    if (taken + width > room)
      break;
    if (!width)
      continue;
    struct top_span at = {span.row, span.column + taken, 1};
    set(canvas, at, style, glyph);
    at.column++;
    if (width > 1)
      set(canvas, at, style, 0);
    taken += width;
  }
  if (cut && span.width)
    set(canvas, (struct top_span){span.row, span.column + taken, 1}, style,
        canvas->ascii ? '~' : 0x2026);
  return cut && span.width ? taken + 1 : taken;
}

void top_canvas_put_right(struct top_canvas *canvas, struct top_span span, enum top_style style,
                          const char *text) {
  int free_columns = span.width - top_canvas_width(canvas, text);
  if (free_columns > 0) {
    span.column += free_columns;
    span.width -= free_columns;
  }
  top_canvas_put(canvas, span, style, text);
}

void top_canvas_fill(struct top_canvas *canvas, struct top_span span, enum top_style style,
                     uint32_t glyph) {
  span = clip(canvas, span);
  for (int i = 0; i < span.width; i++)
    set(canvas, (struct top_span){span.row, span.column + i, 1}, style, glyph);
}

void top_canvas_mark(struct top_canvas *canvas, int row) {
  if (row < 0 || row >= canvas->height)
    return;
  for (int i = 0; i < canvas->width; i++)
    canvas->cells[row * canvas->width + i].marked = true;
}

/* ---- text ---- */

size_t top_canvas_encode(uint32_t glyph, char out[4]) {
  static const struct {
    uint32_t below;
    unsigned char lead;
    int more;
  } forms[] = {{0x80, 0, 0}, {0x800, 0xc0, 1}, {0x10000, 0xe0, 2}, {UINT32_MAX, 0xf0, 3}};
  int form = 0;
  while (glyph >= forms[form].below)
    form++;
  for (int i = forms[form].more; i > 0; i--, glyph >>= 6)
    out[i] = (char)(0x80 | (glyph & 0x3f));
  out[0] = (char)(forms[form].lead | glyph);
  return (size_t)forms[form].more + 1;
}

void top_canvas_read(const struct top_canvas *canvas, int row, struct buf *out) {
  const struct top_cell *cells = canvas->cells + (size_t)row * (size_t)canvas->width;
  int end = canvas->width;
  while (end && cells[end - 1].glyph == ' ')
    end--;
  char bytes[4];
  for (int i = 0; i < end; i++)
    if (cells[i].glyph)
      buf_add(out, bytes, top_canvas_encode(cells[i].glyph, bytes));
}
