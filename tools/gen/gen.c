/*
 * gen: prints what is made from the table of operations.
 *
 *   gen cli      the header that src/cli includes as gen/cli_table.h
 *   gen routes   the one that it includes as gen/cli_routes.h
 *   gen docs     docs/api.md
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "ops/ops.h"

/* ---- both ---- */

static const char *type_of(enum reader_type type) {
  static const char *const types[] = {
      [READER_UINT] = "uint", [READER_INT] = "int",       [READER_BOOL] = "bool",
      [READER_TEXT] = "text", [READER_WORD] = "word",     [READER_ID] = "id",
      [READER_RAW] = "json",  [READER_DOUBLE] = "number",
  };
  return types[type];
}

static void print_words(const char *const *words, const char *between) {
  for (size_t i = 0; words[i]; i++)
    printf("%s%s", i ? between : "", words[i]);
}

/* Of the rows of one action the one with most fields: it names a device besides. */
static bool is_fullest(const struct ops_row *const *rows, size_t count, size_t i) {
  if (!rows[i]->action)
    return false;
  for (size_t k = 0; k < count; k++)
    if (k != i && rows[k]->action && strcmp(rows[k]->action, rows[i]->action) == 0 &&
        (rows[k]->field_count > rows[i]->field_count ||
         (k < i && rows[k]->field_count == rows[i]->field_count)))
      return false;
  return true;
}

/* ---- cli ---- */

static void print_quoted(const char *text) {
  if (!text) {
    printf("NULL");
    return;
  }
  putchar('"');
  for (; *text; text++)
    printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
  putchar('"');
}

static void print_snake(const char *name) {
  putchar('"');
  for (; *name; name++)
    if (isupper((unsigned char)*name))
      printf("_%c", tolower((unsigned char)*name));
    else
      putchar(*name);
  putchar('"');
}

static void print_field(const struct reader_field *field) {
  printf("    {");
  print_snake(field->name);
  printf(", \"%s\", %s, ", type_of(field->type), field->required ? "true" : "false");
  print_quoted(field->otherwise);
  printf(", \"%s", field->doc);
  if (field->type == READER_WORD) {
    printf(": ");
    print_words(field->words, ", ");
  }
  printf("\"},\n");
}

static int print_cli(void) {
  size_t count;
  const struct ops_row *const *rows = ops_rows(&count);
  puts("/* Made by `gen cli` from the table of operations. */");
  for (size_t i = 0; i < count; i++) {
    if (!is_fullest(rows, count, i) || !rows[i]->field_count)
      continue;
    printf("static const struct cli_field cli_fields_%zu[] = {\n", i);
    for (size_t k = 0; k < rows[i]->field_count; k++)
      print_field(&rows[i]->fields[k]);
    puts("};");
  }
  puts("static const struct cli_operation cli_operations[] = {");
  for (size_t i = 0; i < count; i++) {
    if (!is_fullest(rows, count, i))
      continue;
    printf("    {\"%s\", ", rows[i]->action);
    print_quoted(rows[i]->summary);
    if (rows[i]->field_count)
      printf(", cli_fields_%zu, %zu},\n", i, rows[i]->field_count);
    else
      puts(", NULL, 0},");
  }
  puts("};");
  return 0;
}

/* ---- routes ---- */

static void print_route(const struct ops_row *row) {
  printf("    {\"%s\", \"%s\", \"%s\", %zu, (const char *const[]){", row->action,
         ops_methods[row->method], row->path, row->path_count);
  for (size_t i = 0; i < row->path_count + row->query_count; i++)
    printf("\"%s\", ", row->fields[i].name);
  puts("NULL}},");
}

/* What is answered with one envelope. */
static int print_routes(void) {
  size_t count;
  const struct ops_row *const *rows = ops_rows(&count);
  puts("/* Made by `gen routes` from the table of operations. */");
  puts("static const struct route_row route_rows[] = {");
  for (size_t i = 0; i < count; i++)
    if (rows[i]->action && rows[i]->path && rows[i]->envelope && !rows[i]->streams)
      print_route(rows[i]);
  puts("};");
  return 0;
}

/* ---- docs ---- */

static const char *const roles[] = {"none", "read", "write", "admin"};

static void print_range(const struct reader_field *field) {
  if (field->type == READER_WORD)
    print_words(field->words, " \\| ");
  else if (field->type == READER_UINT && (field->min || field->max))
    printf("%llu … %llu%s", (unsigned long long)field->min,
           (unsigned long long)(field->max ? field->max : INT64_MAX),
           field->power_of_two ? ", a power of two" : "");
  else if (field->type == READER_TEXT)
    printf("at most %zu bytes", field->size - 1);
}

static void print_doc_field(const struct ops_row *row, size_t i) {
  const struct reader_field *field = &row->fields[i];
  const char *where = i < row->path_count                      ? "path"
                      : i < row->path_count + row->query_count ? "query"
                                                               : "body";
  printf("| `%s` | %s | %s | ", field->name, row->path ? where : "–", type_of(field->type));
  print_range(field);
  printf(" | %s | %s |\n",
         field->required || i < row->path_count ? "**required**"
         : field->otherwise                     ? field->otherwise
                                                : "",
         field->doc);
}

static void print_row(const struct ops_row *row) {
  printf("\n## %s\n\n", row->summary);
  if (row->path)
    printf("`%s %s`", ops_methods[row->method], row->path);
  if (row->alias)
    printf(" (also `%s`)", row->alias);
  if (row->action)
    printf("%s`%s` on the socket", row->path ? ", " : "", row->action);
  printf(". Role: %s.\n", roles[row->role]);
  if (!row->field_count)
    return;
  puts("\n| field | in | type | range | default | meaning |\n|---|---|---|---|---|---|");
  for (size_t i = 0; i < row->field_count; i++)
    print_doc_field(row, i);
}

static int print_docs(void) {
  size_t count;
  const struct ops_row *const *rows = ops_rows(&count);
  puts("# Operations\n\n"
       "Made by `build/gen/gen docs` from the table of operations; do not edit. What answers look\n"
       "like is in `GET /openapi.json`. On the socket names are snake_case, and what stands in a\n"
       "path or query is a field of `data`.");
  for (size_t i = 0; i < count; i++)
    print_row(rows[i]);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "cli") == 0)
    return print_cli();
  if (argc == 2 && strcmp(argv[1], "routes") == 0)
    return print_routes();
  if (argc == 2 && strcmp(argv[1], "docs") == 0)
    return print_docs();
  fputs("usage: gen cli | gen routes | gen docs\n", stderr);
  return 2;
}
