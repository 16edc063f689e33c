/*
 * draw: rows are given away from the top. A low screen shows one list below the devices, a high one
 * all of them. A question stands in a box over it all.
 */
#include "cli/top/draw.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/paint.h"
#include "cli/top/grid.h"

#define HIGH 38  /* from here on all lists are shown */
#define ROOMY 20 /* from here on there are rows that only part and explain */
#define BOX_LINES 24
#define BOX_WIDTH 66
#define BOX_BYTES 300

struct picture {
  struct top_canvas *canvas;
  const struct top_scene *scene;
  struct top_view *view;
  int row, end; /* what is free of the canvas */
};

static struct top_span whole(const struct picture *picture, int row) {
  return (struct top_span){row, 0, picture->canvas->width};
}

static bool is_stale(const struct picture *picture) { return *picture->scene->trouble; }

static int smaller(int a, int b) { return a < b ? a : b; }

/* ---- the first row ---- */

static void draw_title(struct picture *picture) {
  struct top_canvas *canvas = picture->canvas;
  const struct top_snapshot *snapshot = picture->scene->snapshot;
  struct reader_value status = top_snapshot_data(snapshot, TOP_STATUS);
  struct reader_value workers = reader_get(status, "workers");
  char text[TOP_TEXT], bytes[32];
  int at = top_canvas_put(canvas, whole(picture, picture->row), TOP_BOLD, "memkeep") + 2;
  struct top_span rest = {picture->row, at, canvas->width - at};
  picture->row++;
  if (is_stale(picture)) {
    snprintf(text, sizeof text, "not reachable, retrying: %.200s", picture->scene->trouble);
    top_canvas_put(canvas, rest, TOP_BAD, text);
    return;
  }
  const char *clock = "";
  if (snapshot)
    clock = reader_text(reader_get(reader_root(snapshot->parts[TOP_STATUS]), "timestamp"), "");
  snprintf(text, sizeof text, "%.8s", strlen(clock) > 19 ? clock + 11 : "");
  if (canvas->width >= 60)
    top_canvas_put_right(canvas, (struct top_span){rest.row, canvas->width - 8, 8}, TOP_DIM, text);
  snprintf(text, sizeof text, "%u allocations, %s   workers %u of %u healthy",
           (unsigned)reader_uint(reader_get(status, "activeAllocations"), 0),
           paint_text(status, "allocatedBytes", bytes, sizeof bytes),
           (unsigned)reader_uint(reader_get(workers, "healthy"), 0),
           (unsigned)reader_uint(reader_get(workers, "total"), 0));
  rest.width -= canvas->width >= 60 ? 10 : 0;
  top_canvas_put(canvas, rest, TOP_PLAIN, snapshot ? text : "asking …");
}

/* ---- lists ---- */

static struct top_grid grid_of(const struct picture *picture, enum top_pane pane, int height) {
  return (struct top_grid){.snapshot = picture->scene->snapshot,
                           .pane = pane,
                           .row = picture->row,
                           .height = height,
                           .marks = picture->view->focus == pane,
                           .stale = is_stale(picture)};
}

static void draw_list(struct picture *picture, enum top_pane pane, int height) {
  struct top_place *place = &picture->view->places[pane];
  height = smaller(height, picture->end - picture->row);
  if (height <= 0)
    return;
  const struct top_grid grid = grid_of(picture, pane, height);
  top_grid_draw(picture->canvas, &grid, place);
  bool empty = !place->list.count && height > 1 && picture->scene->snapshot;
  if (empty)
    top_canvas_put(picture->canvas, whole(picture, picture->row + 1), TOP_DIM,
                   *picture->view->filter && place->list.read ? "nothing that matches"
                                                              : "none at the moment");
  picture->row += height;
}

/* "Allocations 12 of 300". */
static void title_of(const struct picture *picture, enum top_pane pane, char out[TOP_ID]) {
  const struct top_list *list = &picture->view->places[pane].list;
  const char *more = list->whole ? "" : "+";
  if (list->count == list->read)
    snprintf(out, TOP_ID, "%s %zu%s", top_columns[pane].title, list->count, more);
  else
    snprintf(out, TOP_ID, "%s %zu of %zu%s", top_columns[pane].title, list->count, list->read,
             more);
}

/* What the lists are cut down to; behind the titles, in the same row. */
static void draw_filter(const struct picture *picture, int at) {
  struct top_span span = {picture->row, at, picture->canvas->width - at};
  char text[TOP_TEXT];
  bool typing = picture->view->mode == TOP_FILTERING;
  if (!typing && !*picture->view->filter)
    return;
  snprintf(text, sizeof text, "filter: %s%s", picture->view->filter, typing ? "_" : "");
  top_canvas_put(picture->canvas, span, typing ? TOP_BOLD : TOP_WARNING, text);
}

/* The titles of the lists that share the room; the one that is shown stands out. */
static void draw_tabs(struct picture *picture) {
  int at = 0;
  char title[TOP_ID];
  for (int pane = TOP_BLOCKS; pane < TOP_PANES; pane++) {
    bool shown = picture->view->shown == (enum top_pane)pane;
    title_of(picture, (enum top_pane)pane, title);
    struct top_span span = {picture->row, at, picture->canvas->width - at};
    at += top_canvas_put(picture->canvas, span, shown ? TOP_BOLD : TOP_DIM, title) + 3;
  }
  draw_filter(picture, at);
  picture->row++;
}

static void draw_section(struct picture *picture, enum top_pane pane, int height) {
  char title[TOP_ID];
  bool focused = picture->view->focus == pane;
  title_of(picture, pane, title);
  int at = top_canvas_put(picture->canvas, whole(picture, picture->row),
                          focused ? TOP_BOLD : TOP_DIM, title);
  if (pane == TOP_BLOCKS)
    draw_filter(picture, at + 3);
  picture->row++;
  draw_list(picture, pane, height - 2);
  picture->row++;
}

/* All lists one below the other; the allocations take what the others leave. */
static void draw_sections(struct picture *picture) {
  int room = picture->end - picture->row, heights[TOP_PANES] = {0};
  for (int pane = TOP_WEIGHTS; pane < TOP_PANES; pane++) {
    size_t count = picture->view->places[pane].list.count;
    heights[pane] = smaller(count < 100 ? (int)count + 3 : 100, room / 4);
    heights[pane] = heights[pane] > 4 ? heights[pane] : 4;
  }
  heights[TOP_BLOCKS] = room - heights[TOP_WEIGHTS] - heights[TOP_MOVES] + 1;
  for (int pane = TOP_BLOCKS; pane < TOP_PANES; pane++)
    draw_section(picture, (enum top_pane)pane, heights[pane]);
}

static void draw_devices(struct picture *picture) {
  int height = picture->canvas->height, room = picture->end - picture->row;
  size_t count = picture->view->places[TOP_DEVICES].list.count;
  int rows = smaller(count < 100 ? (int)count : 100, height >= HIGH ? room / 3 : (room - 2) / 2);
  rows = rows > 1 ? rows : 1;
  draw_list(picture, TOP_DEVICES, 1 + rows);
  if (height < ROOMY)
    return;
  top_grid_legend(picture->canvas, (struct top_span){picture->row, 9, picture->canvas->width - 9});
  picture->row += 2;
}

/* ---- the last rows ---- */

static void draw_rest(struct picture *picture) {
  enum top_pane pane = picture->view->focus;
  const struct top_grid grid = grid_of(picture, pane, 1);
  char text[TOP_TEXT];
  top_grid_rest(picture->canvas, &grid, &picture->view->places[pane], text);
  top_canvas_put(picture->canvas, whole(picture, picture->end), TOP_DIM, text);
}

static void draw_keys(const struct picture *picture) {
  const struct top_view *view = picture->view;
  char text[TOP_TEXT];
  struct top_span span = whole(picture, picture->canvas->height - 1);
  if (*view->message) {
    top_canvas_put(picture->canvas, span, view->mood, view->message);
    return;
  }
  if (view->mode == TOP_FILTERING) {
    top_canvas_put(picture->canvas, span, TOP_DIM, "Enter keep the filter   Esc show all");
    return;
  }
  size_t n = (size_t)snprintf(text, sizeof text, "q quit  ? help");
  for (const struct top_deed *deed = top_view_deeds; deed->verb; deed++)
    if (deed->pane == view->focus && deed->key < 0x80 && n < sizeof text)
      n += (size_t)snprintf(text + n, sizeof text - n, "  %c %s", (int)deed->key, deed->verb);
  if (n < sizeof text)
    snprintf(text + n, sizeof text - n, "  Tab next list  / filter  s sort  r reverse");
  top_canvas_put(picture->canvas, span, TOP_DIM, text);
}

/* ---- boxes ---- */

struct box {
  char lines[BOX_LINES][BOX_BYTES];
  int count, width; /* width: of the longest line, in columns */
};

/* How many bytes of a text go into a line: up to the last blank that does, else as many as do. */
static size_t cut(const struct top_canvas *canvas, const char *text, int width) {
  char part[BOX_BYTES];
  size_t n = strlen(text), fits = 0, blank = 0;
  n = n < sizeof part ? n : sizeof part - 1;
  for (size_t i = 1; i <= n; i++) {
    snprintf(part, sizeof part, "%.*s", (int)i, text);
    bool inside = (text[i] & 0xc0) == 0x80;
    if (!inside && top_canvas_width(canvas, part) > width)
      break;
    fits = inside ? fits : i;
    blank = text[i] == ' ' ? i : blank;
  }
  return fits == n || !blank ? fits : blank;
}

/* One line, or more if the screen is too narrow for it. */
static void write_line(const struct top_canvas *canvas, struct box *box, const char *text) {
  int room = smaller(BOX_WIDTH, canvas->width - 4);
  for (bool first = true; box->count < BOX_LINES && (first || *text); first = false) {
    size_t n = cut(canvas, text, room);
    snprintf(box->lines[box->count], BOX_BYTES, "%.*s", (int)n, text);
    int own = top_canvas_width(canvas, box->lines[box->count]);
    box->width = own > box->width ? own : box->width;
    text += n ? n : strlen(text);
    text += strspn(text, " ");
    box->count++;
  }
}

static void draw_edge(struct top_canvas *canvas, struct top_span span, const uint32_t glyphs[3]) {
  top_canvas_fill(canvas, span, TOP_BOLD, glyphs[1]);
  top_canvas_fill(canvas, (struct top_span){span.row, span.column, 1}, TOP_BOLD, glyphs[0]);
  top_canvas_fill(canvas, (struct top_span){span.row, span.column + span.width - 1, 1}, TOP_BOLD,
                  glyphs[2]);
}

/* Where it does not fit, its end is in sight: that is where the keys stand. */
static void draw_box(struct top_canvas *canvas, const struct box *box) {
  static const uint32_t fine[3][3] = {
      {0x250c, 0x2500, 0x2510}, {0x2502, ' ', 0x2502}, {0x2514, 0x2500, 0x2518}};
  static const uint32_t plain[3][3] = {{'+', '-', '+'}, {'|', ' ', '|'}, {'+', '-', '+'}};
  const uint32_t(*edges)[3] = canvas->ascii ? plain : fine;
  int width = smaller(box->width + 4, canvas->width), left = canvas->height - box->count - 2;
  struct top_span span = {left > 0 ? left / 2 : left, (canvas->width - width) / 2, width};
  draw_edge(canvas, span, edges[0]);
  for (int i = 0; i < box->count; i++) {
    span.row++;
    draw_edge(canvas, span, edges[1]);
    top_canvas_put(canvas, (struct top_span){span.row, span.column + 2, width - 4},
                   i ? TOP_PLAIN : TOP_BOLD, box->lines[i]);
  }
  span.row++;
  draw_edge(canvas, span, edges[2]);
}

static void draw_question(const struct picture *picture) {
  const struct top_view *view = picture->view;
  struct box box = {.count = 0};
  char question[TOP_TEXT];
  snprintf(question, sizeof question, "%c%s %s%s", toupper(*view->deed->verb), view->deed->verb + 1,
           view->deed_id, view->forced ? " by force?" : "?");
  write_line(picture->canvas, &box, question);
  write_line(picture->canvas, &box, view->deed_about);
  write_line(picture->canvas, &box, "y yes   any other key no");
  draw_box(picture->canvas, &box);
}

static void draw_help(const struct picture *picture) {
  static const char *const lines[] = {"memkeep top",
                                      "Tab       next list (or 1 2 3 4)",
                                      "arrows    move; PgUp PgDn Home End",
                                      "/         rows with a text; Esc all",
                                      "s r       next order, other way",
                                      "k         free, or cancel",
                                      "u p       unload or park a model",
                                      "q         quit"};
  struct box box = {.count = 0};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
    write_line(picture->canvas, &box, lines[i]);
  if (picture->canvas->height >= ROOMY) {
    write_line(picture->canvas, &box, "");
    write_line(picture->canvas, &box, "FULL IN   as the trend goes; - is not rising");
    write_line(picture->canvas, &box, "HELD      how often it is attached");
    write_line(picture->canvas, &box, "IDLE      since an access through Memkeep");
    write_line(picture->canvas, &box, "HOLES     of what is committed, not in use");
  }
  draw_box(picture->canvas, &box);
}

void top_draw(struct top_canvas *canvas, const struct top_scene *scene, struct top_view *view) {
  struct picture picture = {canvas, scene, view, 0, canvas->height - 1};
  bool roomy = canvas->height >= ROOMY;
  picture.end -= roomy;
  draw_title(&picture);
  draw_devices(&picture);
  if (canvas->height >= HIGH) {
    draw_sections(&picture);
  } else {
    draw_tabs(&picture);
    draw_list(&picture, view->shown, picture.end - picture.row);
  }
  if (roomy)
    draw_rest(&picture);
  draw_keys(&picture);
  if (view->mode == TOP_ASKING)
    draw_question(&picture);
  if (view->mode == TOP_HELPING)
    draw_help(&picture);
}
