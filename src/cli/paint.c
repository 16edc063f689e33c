/*
 * paint: a value is shown by the end of its name, so that what the daemon learns to answer later is
 * shown rightly too. Nothing that came from elsewhere reaches the terminal with control characters
 * in it.
 */
#include "cli/paint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"

#define TEXT_MAX ((size_t)64 << 20)
#define CELL 512
#define INDENT 2
#define KEY_WIDTH 26

static const struct {
  const char *word, *colour;
} colours[] = {
    {"healthy", "32"},  {"completed", "32"}, {"ready", "32"},    {"ok", "32"},
    {"warning", "33"},  {"moderate", "33"},  {"high", "33"},     {"degraded", "33"},
    {"starting", "33"}, {"cancelled", "33"}, {"orphaned", "33"}, {"critical", "31"},
    {"error", "31"},    {"failed", "31"},    {"lost", "31"},
};

bool paint_lively(int fd) {
  const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
  return isatty(fd) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

static const char *colour_of(const char *text) {
  for (size_t i = 0; i < sizeof colours / sizeof *colours; i++)
    if (strcmp(colours[i].word, text) == 0)
      return colours[i].colour;
  return NULL;
}

/* ---- values ---- */

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

static void clean(char *text) {
  for (; *text; text++)
    if ((unsigned char)*text < 0x20 || *text == 0x7f)
      *text = '?';
}

static const char *raw(struct reader_value value, char *out, size_t size) {
  struct buf text BUF_CLEANUP;
  buf_init(&text, CELL);
  reader_dump(value, &text);
  snprintf(out, size, "%s", text.failed ? "…" : buf_text(&text));
  return out;
}

static const char *size_text(const char *name, struct reader_value value, char *out, size_t size) {
  char bytes[32];
  bool rate = ends_with(name, "PerSecond");
  double number = reader_double(value, -1);
  if (number < 0)
    return raw(value, out, size);
  units_format((uint64_t)number, bytes, sizeof bytes);
  snprintf(out, size, "%s%s", bytes, rate ? "/s" : "");
  return out;
}

static bool is_size(const char *name) {
  return ends_with(name, "Bytes") || strcmp(name, "bytes") == 0 ||
         strcasecmp(name, "bytesPerSecond") == 0 || ends_with(name, "BytesBefore") ||
         ends_with(name, "BytesAfter");
}

static const char *value_text(const char *name, struct reader_value value, char *out, size_t size) {
  const char *text = reader_text(value, NULL);
  if (text) {
    snprintf(out, size, "%s", text);
    clean(out);
    return out;
  }
  if (!value.json || strcmp(raw(value, out, size), "null") == 0)
    return snprintf(out, size, "-") > 0 ? out : "";
  if (is_size(name))
    return size_text(name, value, out, size);
  if (ends_with(name, "Percent") || strcmp(name, "percent") == 0)
    snprintf(out, size, "%.1f %%", reader_double(value, 0));
  clean(out);
  return out;
}

const char *paint_text(struct reader_value object, const char *name, char *out, size_t size) {
  return value_text(name, reader_get(object, name), out, size);
}

/* ---- tables ---- */

void paint_begin(struct paint_table *table, const char *const *headers) {
  *table = (struct paint_table){.headers = headers};
  while (headers[table->columns])
    table->columns++;
  buf_init(&table->text, TEXT_MAX);
}

void paint_cell(struct paint_table *table, const char *text) {
  buf_add(&table->text, text, strlen(text) + 1);
  table->cells++;
}

void paint_member(struct paint_table *table, struct reader_value object, const char *name) {
  char cell[CELL];
  paint_cell(table, paint_text(object, name, cell, sizeof cell));
}

/* Of UTF-8, in columns; good enough for labels. */
static size_t width_of(const char *text) {
  size_t width = 0;
  for (; *text; text++)
    width += (*text & 0xc0) != 0x80;
  return width;
}

static void spaces(size_t n) {
  while (n--)
    putchar(' ');
}

static void print_cell(const char *text, size_t width, bool right, bool lively) {
  const char *colour = lively ? colour_of(text) : NULL;
  size_t own = width_of(text), fill = width > own ? width - own : 0;
  if (right)
    spaces(fill);
  if (colour)
    printf("\033[%sm%s\033[0m", colour, text);
  else
    fputs(text, stdout);
  if (!right)
    spaces(fill);
}

static void measure(const struct paint_table *table, size_t widths[PAINT_COLUMNS]) {
  for (size_t c = 0; c < table->columns; c++)
    widths[c] = width_of(table->headers[c]) - (*table->headers[c] == '>');
  const char *at = table->text.data;
  for (size_t i = 0; i < table->cells; i++, at += strlen(at) + 1) {
    size_t width = width_of(at), *column = &widths[i % table->columns];
    *column = width > *column ? width : *column;
  }
}

void paint_end(struct paint_table *table) {
  size_t widths[PAINT_COLUMNS];
  bool lively = paint_lively(STDOUT_FILENO);
  if (!table->text.failed)
    measure(table, widths);
  const char *at = table->text.data;
  for (size_t i = 0; i < table->columns + table->cells && !table->text.failed; i++) {
    size_t column = i % table->columns;
    const char *header = table->headers[column];
    bool right = *header == '>', last = column + 1 == table->columns, head = i < table->columns;
    print_cell(head ? header + right : at, last && !right ? 0 : widths[column], right, lively);
    at += head ? 0 : strlen(at) + 1;
    fputs(last ? "\n" : "  ", stdout);
  }
  buf_done(&table->text);
}

/* ---- everything ---- */

static void paint_inside(struct reader_value value, unsigned depth);

static void print_named(const char *name, struct reader_value value, unsigned depth) {
  char text[CELL];
  bool inside = reader_is_object(value) || reader_count(value);
  int width = KEY_WIDTH > depth * INDENT ? (int)(KEY_WIDTH - depth * INDENT) : 1;
  spaces((size_t)depth * INDENT);
  if (inside) {
    printf("%s\n", name);
    paint_inside(value, depth + 1);
    return;
  }
  printf("%-*s ", width, name);
  value_text(name, value, text, sizeof text);
  print_cell(strcmp(text, "[]") ? text : "-", 0, false, paint_lively(STDOUT_FILENO));
  putchar('\n');
}

static void paint_inside(struct reader_value value, unsigned depth) {
  struct reader_value member;
  void *iterator = NULL;
  for (const char *key; (key = reader_next(value, &iterator, &member));)
    print_named(key, member, depth);
  for (size_t i = 0; i < reader_count(value); i++) {
    struct reader_value one = reader_at(value, i);
    if (i && reader_is_object(one))
      putchar('\n');
    if (reader_is_object(one))
      paint_inside(one, depth);
    else
      print_named("-", one, depth);
  }
}

void paint_all(struct reader_value object) { paint_inside(object, 0); }
