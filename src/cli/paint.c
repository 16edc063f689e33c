/*
 * paint: a value is shown by the end of its name, so that what the daemon learns to answer later is
 * shown rightly too. Nothing that came from elsewhere reaches the terminal with control characters
 * in it.
 */
#include "cli/paint.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/units.h"
#include "cli/fit.h"
#include "cli/glyph.h"

#define TEXT_MAX ((size_t)64 << 20)
#define CELL 512
#define INDENT 2
#define KEY_WIDTH 29 /* of timeToCriticalEarliestSeconds */
#define GAP 2
#define LEAST 12 /* what a shortened cell still shows, its "…" with it */
#define LEAST_SENTENCE 24

static const struct {
  const char *word;
  enum paint_mood mood;
} moods[] = {
    {"healthy", PAINT_GOOD},      {"completed", PAINT_GOOD},   {"ready", PAINT_GOOD},
    {"ok", PAINT_GOOD},           {"warning", PAINT_WARNING},  {"moderate", PAINT_WARNING},
    {"high", PAINT_WARNING},      {"degraded", PAINT_WARNING}, {"starting", PAINT_WARNING},
    {"cancelled", PAINT_WARNING}, {"orphaned", PAINT_WARNING}, {"critical", PAINT_BAD},
    {"error", PAINT_BAD},         {"failed", PAINT_BAD},       {"lost", PAINT_BAD},
};

bool paint_lively(int fd) {
  const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
  return isatty(fd) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

enum paint_mood paint_mood(const char *word) {
  for (size_t i = 0; i < sizeof moods / sizeof *moods; i++)
    if (strcmp(moods[i].word, word) == 0)
      return moods[i].mood;
  return PAINT_NEUTRAL;
}

/* ---- values ---- */

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

static void clean(char *text) {
  for (const char *at = text, *begin; *(begin = at);)
    if (glyph_steers(glyph_next(&at)))
      memset(text + (begin - text), GLYPH_STRANGE, (size_t)(at - begin));
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
         strcasecmp(name, "bytesPerSecond") == 0 || ends_with(name, "BytesPerSecond") ||
         ends_with(name, "BytesBefore") || ends_with(name, "BytesAfter");
}

const char *paint_value(const char *name, struct reader_value value, char *out, size_t size) {
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
  double number = reader_double(value, -1);
  bool fragmentation = strncmp(name, "fragmentation", 13) == 0;
  if (number >= 0 && (fragmentation || ends_with(name, "Percent") || !strcmp(name, "percent")))
    snprintf(out, size, "%.1f %%", number);
  else if (number >= 0 && ends_with(name, "Ms"))
    snprintf(out, size, number < 0.1 ? "%.3f" : "%.1f", number);
  else if (strchr(out, '.'))
    snprintf(out, size, number < 0.1 && number > -0.1 ? "%.3g" : "%.2f", number);
  clean(out);
  return out;
}

const char *paint_text(struct reader_value object, const char *name, char *out, size_t size) {
  return paint_value(name, reader_get(object, name), out, size);
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

/* What the locale does not know takes a column, as most do. */
static size_t next_width(const char **text) {
  int width = glyph_width(glyph_next(text));
  return width < 0 ? 1 : (size_t)width;
}

static size_t width_of(const char *text) {
  size_t width = 0;
  while (*text)
    width += next_width(&text);
  return width;
}

static void spaces(size_t n) {
  while (n--)
    putchar(' ');
}

/* Bytes of what fits into n columns, and how many it takes. */
static size_t bytes_of(const char *text, size_t n, size_t *taken) {
  const char *at = text, *end = text;
  *taken = 0;
  while (*at) {
    size_t width = next_width(&at);
    if (*taken + width > n)
      break;
    *taken += width;
    end = at;
  }
  return (size_t)(end - text);
}

/* In that many columns; a longer text ends in "…". */
static void print_cell(const char *text, size_t width, bool right, bool lively) {
  static const char *const colours[] = {
      [PAINT_GOOD] = "32", [PAINT_WARNING] = "33", [PAINT_BAD] = "31"};
  const char *colour = lively ? colours[paint_mood(text)] : NULL;
  size_t own = width_of(text), taken = 0;
  bool cut = own > width;
  size_t bytes = bytes_of(text, cut ? width - 1 : own, &taken);
  size_t fill = width > taken + cut ? width - taken - cut : 0;
  if (right)
    spaces(fill);
  if (colour)
    printf("\033[%sm", colour);
  printf("%.*s%s", (int)bytes, text, cut ? "…" : "");
  if (colour)
    fputs("\033[0m", stdout);
  if (!right)
    spaces(fill);
}

void paint_words(FILE *out, const char *text, struct paint_place place) {
  int at = place.at;
  while (*text) {
    int n = (int)strcspn(text, " ");
    if (at > place.indent && at + 1 + n > place.edge) {
      fprintf(out, "\n%*s", place.indent, "");
      at = place.indent;
    } else if (at > place.indent) {
      putc(' ', out);
      at++;
    }
    at += fprintf(out, "%.*s", n, text);
    text += n + (text[n] == ' ');
  }
}

/* What stands before a header's name. */
struct marks {
  unsigned rank;
  bool text, right, sentence;
  const char *name;
};

static struct marks marks_of(const char *header) {
  struct marks marks = {.name = header};
  if (*marks.name >= '1' && *marks.name <= '9')
    marks.rank = (unsigned)(*marks.name++ - '0');
  marks.text = *marks.name == '~';
  marks.right = *marks.name == '>';
  marks.sentence = *marks.name == '=';
  marks.name += marks.text || marks.right || marks.sentence;
  return marks;
}

static void measure(const struct paint_table *table, struct fit_column columns[PAINT_COLUMNS]) {
  size_t column = 0;
  for (size_t c = 0; c < table->columns; c++) {
    struct marks marks = marks_of(table->headers[c]);
    columns[c] = (struct fit_column){.width = width_of(marks.name), .rank = marks.rank};
  }
  const char *at = table->text.data;
  for (size_t i = 0; i < table->cells; i++, at += strlen(at) + 1) {
    size_t width = width_of(at);
    columns[column].width = width > columns[column].width ? width : columns[column].width;
    column = column + 1 < table->columns ? column + 1 : 0;
  }
  for (size_t c = 0; c < table->columns; c++) {
    struct marks marks = marks_of(table->headers[c]);
    columns[c].least = marks.text ? LEAST : marks.sentence ? LEAST_SENTENCE : columns[c].width;
  }
}

/* What a terminal has behind the indent; as much as is wanted where it is none, or does not say. */
static size_t room(size_t indent) {
  struct winsize size;
  bool known = isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col;
  size_t columns = known ? size.ws_col : SIZE_MAX;
  return columns > indent ? columns - indent : 1;
}

static void print_last(const char *text, const struct marks *marks, size_t width, size_t at,
                       bool lively) {
  size_t own = width_of(text);
  if (marks->sentence && own > width)
    paint_words(stdout, text, (struct paint_place){(int)at, (int)at, (int)(at + width)});
  else
    print_cell(text, marks->right || own > width ? width : own, marks->right, lively);
  putchar('\n');
}

static void print_row(const struct paint_table *table, const char *const *cells,
                      const struct fit_column *columns, bool lively) {
  size_t last = 0, at = table->indent;
  for (size_t c = 0; c < table->columns; c++)
    last = columns[c].gone ? last : c;
  spaces(at);
  for (size_t c = 0; c < last; c++) {
    if (columns[c].gone)
      continue;
    print_cell(cells[c], columns[c].width, marks_of(table->headers[c]).right, lively);
    spaces(GAP);
    at += columns[c].width + GAP;
  }
  const struct marks marks = marks_of(table->headers[last]);
  print_last(cells[last], &marks, columns[last].width, at, lively);
}

static void print_rows(const struct paint_table *table, const struct fit_column *columns) {
  const char *cells[PAINT_COLUMNS], *at = table->text.data;
  bool lively = paint_lively(STDOUT_FILENO);
  for (size_t c = 0; c < table->columns; c++)
    cells[c] = marks_of(table->headers[c]).name;
  print_row(table, cells, columns, false);
  for (size_t i = 0; i < table->cells; i += table->columns) {
    for (size_t c = 0; c < table->columns; c++, at += strlen(at) + 1)
      cells[c] = at;
    print_row(table, cells, columns, lively);
  }
}

bool paint_end(struct paint_table *table) {
  struct fit_column columns[PAINT_COLUMNS];
  size_t wide = room(table->indent);
  bool fits = !table->text.failed && table->columns;
  if (fits) {
    measure(table, columns);
    fit(columns, table->columns, GAP, wide);
    fits = !table->whole || fit_width(columns, table->columns, GAP) <= wide;
  }
  if (fits)
    print_rows(table, columns);
  buf_done(&table->text);
  return fits;
}

/* ---- lines ---- */

void paint_line(const struct paint_piece *pieces, size_t count) {
  struct fit_column *columns = calloc(count, sizeof *columns);
  const char *gap = "";
  for (size_t i = 0; columns && i < count; i++) {
    size_t width = width_of(pieces[i].text), least = pieces[i].least;
    columns[i] =
        (struct fit_column){.width = width, .least = least ? least : width, .rank = pieces[i].rank};
  }
  if (columns)
    fit(columns, count, GAP, room(0));
  for (size_t i = 0; columns && i < count; i++) {
    if (columns[i].gone)
      continue;
    fputs(gap, stdout);
    print_cell(pieces[i].text, columns[i].width, false, false);
    gap = "  ";
  }
  putchar('\n');
  free(columns);
}

/* ---- everything ---- */

static void paint_inside(struct reader_value value, unsigned depth);

/* Whether a list is a table: objects with nothing inside of them, and few enough columns. */
static bool is_table(struct reader_value list) {
  for (size_t i = 0; i < reader_count(list); i++) {
    struct reader_value one = reader_at(list, i), member;
    void *iterator = NULL;
    size_t columns = 0;
    for (; reader_next(one, &iterator, &member); columns++)
      if (reader_is_object(member) || reader_is_array(member))
        return false;
    if (!columns || columns > PAINT_COLUMNS)
      return false;
  }
  return reader_count(list) > 0;
}

/* False: a terminal is too narrow for it. */
static bool print_table(struct reader_value list, unsigned depth) {
  const char *headers[PAINT_COLUMNS + 1] = {NULL};
  struct paint_table table;
  struct reader_value ignored;
  void *iterator = NULL;
  for (size_t c = 0; c < PAINT_COLUMNS; c++)
    if (!(headers[c] = reader_next(reader_at(list, 0), &iterator, &ignored)))
      break;
  paint_begin(&table, headers);
  table.indent = (size_t)depth * INDENT;
  table.whole = true;
  for (size_t i = 0; i < reader_count(list); i++)
    for (size_t c = 0; c < table.columns; c++)
      paint_member(&table, reader_at(list, i), headers[c]);
  return paint_end(&table);
}

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
  paint_value(name, value, text, sizeof text);
  const char *shown = strcmp(text, "[]") ? text : "-";
  print_cell(shown, width_of(shown), false, paint_lively(STDOUT_FILENO));
  putchar('\n');
}

static void paint_inside(struct reader_value value, unsigned depth) {
  struct reader_value member;
  void *iterator = NULL;
  if (is_table(value) && print_table(value, depth))
    return;
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

void paint_all(struct reader_value object) {
  struct reader_value ignored;
  void *iterator = NULL;
  if (reader_next(object, &iterator, &ignored))
    paint_inside(object, 0);
  else
    puts("done");
}
