/*
 * grid: columns that find no room are left out by their ranks; what is left over goes to the one
 * that grows. A bar is drawn from the left: what Memkeep's allocations use, what it keeps for
 * reuse, what others use, what is held back.
 */
#include "cli/top/grid.h"

#include <stdio.h>
#include <string.h>

#include "cli/fit.h"
#include "cli/paint.h"

#define PERCENT 5 /* columns of "100 %", of each bar */
#define WIDE 120  /* from here on there are two blanks between columns */

struct layout {
  int widths[TOP_COLUMNS_MAX]; /* 0: left out */
  int gap;
};

static struct layout lay_out(enum top_pane pane, int width) {
  const struct top_column *columns = top_columns[pane].columns;
  struct fit_column fitted[TOP_COLUMNS_MAX];
  struct layout layout = {.gap = width < WIDE ? 1 : 2};
  size_t count = 0, room = (size_t)width, gap = (size_t)layout.gap;
  for (; columns[count].header; count++) {
    size_t own = (size_t)columns[count].width;
    fitted[count] = (struct fit_column){own, own, (unsigned)columns[count].rank, false};
  }
  fit(fitted, count, gap, room);
  size_t used = fit_width(fitted, count, gap), left = room > used ? room - used : 0;
  for (size_t i = 0; i < count; i++)
    if (!fitted[i].gone)
      layout.widths[i] = (int)(fitted[i].width + (columns[i].grows ? left : 0));
  return layout;
}

/* ---- bars ---- */

static const struct part {
  const char *name;
  enum top_style style;
  uint32_t glyph, ascii;
} parts[] = {{"used", TOP_USED, 0x2588, '#'},
             {"cached", TOP_CACHED, 0x2593, '='},
             {"others", TOP_EXTERNAL, 0x2592, '+'},
             {"reserved", TOP_RESERVED, 0x2591, '-'},
             {"free", TOP_DIM, 0xb7, '.'}};
#define PARTS (sizeof parts / sizeof *parts)

static void draw_percent(struct top_canvas *canvas, struct top_span span, double percent) {
  char text[16];
  bool known = percent >= 0 && percent <= 1000;
  snprintf(text, sizeof text, known ? "%.0f %%" : "-", percent);
  top_canvas_put_right(canvas, span, TOP_PLAIN, text);
}

static double least(double a, double b) { return a < b ? a : b; }

/* Bytes of each part but the last; what is not known has no part. */
static void split(struct reader_value device, double bytes[PARTS]) {
  double used = reader_double(reader_get(device, "usedBytes"), 0);
  double total_bytes = reader_double(reader_get(device, "totalBytes"), 0);
  double cached = reader_double(reader_get(device, "cachedBytes"), 0);
  double others = reader_double(reader_get(device, "externalBytes"), 0);
  double reserved = reader_double(reader_get(device, "reservedBytes"), 0);
  others = least(others, used);
  cached = least(cached, used - others);
  bytes[0] = used - others - cached;
  bytes[1] = cached;
  bytes[2] = others;
  bytes[3] = total_bytes > used ? least(reserved, total_bytes - used) : 0;
}

static void draw_bar(struct top_canvas *canvas, struct top_span span, struct reader_value device) {
  double bytes[PARTS] = {0}, sum = 0;
  double all = reader_double(reader_get(device, "totalBytes"), 0);
  double percent = reader_double(reader_get(device, "utilizationPercent"), -1);
  if (strcmp(reader_text(reader_get(device, "health"), ""), "error") == 0) {
    top_canvas_put(canvas, span, TOP_BAD, "does not answer");
    return;
  }
  draw_percent(canvas, (struct top_span){span.row, span.column + span.width - PERCENT, PERCENT},
               percent);
  int width = span.width - PERCENT - 1, at = 0;
  split(device, bytes);
  for (size_t i = 0; i < PARTS; i++) {
    sum += bytes[i];
    int end = i + 1 < PARTS && all > 0 ? (int)(least(sum / all, 1) * width + 0.5) : width;
    end = i + 1 < PARTS && !(all > 0) ? 0 : end;
    top_canvas_fill(canvas, (struct top_span){span.row, span.column + at, end - at}, parts[i].style,
                    canvas->ascii ? parts[i].ascii : parts[i].glyph);
    at = end;
  }
}

static void draw_progress(struct top_canvas *canvas, struct top_span span, double percent) {
  draw_percent(canvas, (struct top_span){span.row, span.column + span.width - PERCENT, PERCENT},
               percent);
  int width = span.width - PERCENT - 1;
  int full = (int)(least(percent > 0 ? percent : 0, 100) / 100 * width + 0.5);
  top_canvas_fill(canvas, (struct top_span){span.row, span.column, width}, TOP_DIM,
                  canvas->ascii ? '.' : 0xb7);
  top_canvas_fill(canvas, (struct top_span){span.row, span.column, full}, TOP_USED,
                  canvas->ascii ? '#' : 0x2588);
}

void top_grid_legend(struct top_canvas *canvas, struct top_span span) {
  int row = span.row, at = span.column, end = span.column + span.width;
  for (size_t i = 0; i < PARTS; i++) {
    int width = 2 + (int)strlen(parts[i].name);
    if (at + width > end)
      return;
    top_canvas_fill(canvas, (struct top_span){row, at, 1}, parts[i].style,
                    canvas->ascii ? parts[i].ascii : parts[i].glyph);
    top_canvas_put(canvas, (struct top_span){row, at + 2, width}, TOP_DIM, parts[i].name);
    at += width + 2;
  }
}

/* ---- rows ---- */

static enum top_style style_of(const struct top_grid *grid, const char *text) {
  static const enum top_style moods[] = {[PAINT_NEUTRAL] = TOP_PLAIN,
                                         [PAINT_GOOD] = TOP_GOOD,
                                         [PAINT_WARNING] = TOP_WARNING,
                                         [PAINT_BAD] = TOP_BAD};
  return grid->stale ? TOP_DIM : moods[paint_mood(text)];
}

static void put(struct top_canvas *canvas, const struct top_column *column, struct top_span span,
                enum top_style style, const char *text) {
  if (column->right)
    top_canvas_put_right(canvas, span, style, text);
  else
    top_canvas_put(canvas, span, style, text);
}

static void draw_cell(struct top_canvas *canvas, const struct top_grid *grid,
                      const struct top_column *column, struct reader_value row,
                      struct top_span span) {
  char text[TOP_CELL];
  if (column->kind == TOP_BAR) {
    draw_bar(canvas, span, row);
    return;
  }
  if (column->kind == TOP_PROGRESS) {
    draw_progress(canvas, span, reader_double(reader_get(row, column->member), 0));
    return;
  }
  top_columns_text(grid->snapshot, column, row, text, sizeof text);
  put(canvas, column, span, style_of(grid, text), text);
}

static void draw_row(struct top_canvas *canvas, const struct top_grid *grid,
                     const struct layout *layout, struct reader_value row, int at) {
  const struct top_column *columns = top_columns[grid->pane].columns;
  for (int i = 0, column = 0; columns[i].header; i++) {
    if (!layout->widths[i])
      continue;
    draw_cell(canvas, grid, &columns[i], row, (struct top_span){at, column, layout->widths[i]});
    column += layout->widths[i] + layout->gap;
  }
}

static void draw_header(struct top_canvas *canvas, const struct top_grid *grid,
                        const struct layout *layout, const struct top_place *place) {
  const struct top_column *columns = top_columns[grid->pane].columns;
  const char *up = canvas->ascii ? "^" : "▲", *down = canvas->ascii ? "v" : "▼";
  char text[64];
  for (int i = 0, column = 0; columns[i].header; i++) {
    struct top_span span = {grid->row, column, layout->widths[i]};
    if (!span.width)
      continue;
    snprintf(text, sizeof text, "%s%s", columns[i].header,
             i != place->sort    ? ""
             : place->descending ? down
                                 : up);
    put(canvas, &columns[i], span, TOP_HEADER, text);
    column += span.width + layout->gap;
  }
}

static void scroll(struct top_place *place, int visible) {
  size_t rows = visible > 0 ? (size_t)visible : 0, count = place->list.count;
  place->visible = rows;
  if (place->first + rows > count)
    place->first = count > rows ? count - rows : 0;
  if (place->chosen < place->first)
    place->first = place->chosen;
  if (rows && place->chosen >= place->first + rows)
    place->first = place->chosen - rows + 1;
}

void top_grid_draw(struct top_canvas *canvas, const struct top_grid *grid,
                   struct top_place *place) {
  struct layout layout = lay_out(grid->pane, canvas->width);
  scroll(place, grid->height - 1);
  if (grid->height > 0)
    draw_header(canvas, grid, &layout, place);
  for (size_t i = 0; i < place->visible && place->first + i < place->list.count; i++) {
    size_t index = place->first + i;
    int at = grid->row + 1 + (int)i;
    draw_row(canvas, grid, &layout, place->list.rows[index].value, at);
    if (grid->marks && index == place->chosen)
      top_canvas_mark(canvas, at);
  }
}

void top_grid_rest(const struct top_canvas *canvas, const struct top_grid *grid,
                   const struct top_place *place, char out[TOP_TEXT]) {
  const struct top_column *columns = top_columns[grid->pane].columns;
  struct layout layout = lay_out(grid->pane, canvas->width);
  char text[TOP_CELL];
  size_t n = 0;
  out[0] = '\0';
  for (int i = 0; place->list.count && columns[i].header; i++) {
    if (layout.widths[i])
      continue;
    top_columns_text(grid->snapshot, &columns[i], place->list.rows[place->chosen].value, text,
                     sizeof text);
    if (n < TOP_TEXT && strcmp(text, "-") != 0)
      n += (size_t)snprintf(out + n, TOP_TEXT - n, "%s%s %s", n ? "  " : "", columns[i].header,
                            text);
  }
}
