/*
 * help: made from the two tables, so that it cannot be out of date.
 */
#include "cli/help.h"

#include <string.h>

#include "cli/exec.h"
#include "cli/paint.h"

#define COLUMN 26
#define WIDTH 80 /* of the narrowest terminal that people use */

static void print_words(FILE *out, const char *text, int indent, int at) {
  paint_words(out, text, (struct paint_place){indent, at, WIDTH});
  putc('\n', out);
}

static void print_row(FILE *out, int column, const char *name, const char *text) {
  int at = fprintf(out, "  %-*s ", column, name);
  print_words(out, text, at, at);
}

void help_program(FILE *out) {
  fputs("memkeep: asks the daemon (memkeepd) that keeps the memory of this host's devices\n"
        "\n"
        "usage: memkeep VERB [WORD…] [--FLAG VALUE…]\n"
        "\n"
        "verbs\n",
        out);
  for (const struct verb *verb = verbs; verb->name; verb++)
    print_row(out, 16, verb->name, verb->summary);
  print_row(out, 16, "exec", "any operation by its name, or a program over a model in memory");
  fputs("\nflags of all verbs, wherever they stand\n", out);
  for (const struct globals_flag *flag = globals_flags; flag->name; flag++) {
    char name[32];
    snprintf(name, sizeof name, "%s %s", flag->name, flag->value ? flag->value : "");
    if (flag->doc)
      print_row(out, 18, name, flag->doc);
  }
  fputs("\n"
        "sizes are 4096, 512M or 8GiB (powers of 1024).\n"
        "A narrow terminal gets fewer columns; a pipe gets all, and --json everything.\n"
        "Exit codes: 0 done, 1 failed, 2 usage, 3 not reachable.\n"
        "\n"
        "example: memkeep alloc 8GiB --device host:0 --label cache\n",
        out);
}

bool help_is_group(const char *word) {
  for (const struct verb *verb = verbs; verb->name; verb++)
    if (verbs_member(verb, word))
      return true;
  return false;
}

void help_group(const char *word) {
  bool any = false;
  for (const struct verb *verb = verbs; verb->name; verb++) {
    if (!verbs_member(verb, word))
      continue;
    if (!any)
      printf("memkeep %s: one of\n\n", word);
    any = true;
    print_row(stdout, 16, verb->name, verb->summary);
  }
  if (!any)
    help_program(stdout);
}

static void print_hyphened(const char *name) {
  for (; *name; name++)
    putchar(*name == '_' ? '-' : *name);
}

static void print_doc(const struct cli_field *field, bool needed, bool off, int indent, int at) {
  char text[512];
  const char *more = needed ? "required" : field->otherwise;
  snprintf(text, sizeof text, "%s%s%s%s%s", off ? "do not: " : "", field->doc, more ? " (" : "",
           more ? more : "", more ? ")" : "");
  print_words(stdout, text, indent, at);
}

static void print_flag(const struct verb *verb, const struct cli_field *field) {
  const char *flag = verbs_flag(verb, field->name), *value = table_value(field);
  bool off = table_is_on(field);
  int width = (int)(strlen(flag) + strlen(value) + (*value ? 1 : 0) + (off ? 5 : 2));
  int pad = width < COLUMN ? COLUMN - width : 0;
  printf("  --%s", off ? "no-" : "");
  print_hyphened(flag);
  printf("%s%s%*s ", *value ? " " : "", value, pad, "");
  print_doc(field, field->required, off, COLUMN + 3, width + pad + 3);
}

static void print_usage(const struct verb *verb, const struct cli_operation *operation) {
  printf("usage: memkeep %s", verb->name);
  for (int i = 0; i < VERB_WORDS && verb->words[i]; i++) {
    const struct cli_field *field = &operation->fields[table_field(operation, verb->words[i])];
    bool needed = field->required && !verb->bare;
    printf(needed ? " " : " [");
    print_hyphened(field->name);
    if (verb->model && !i)
      printf(" | MODEL");
    printf(needed ? "" : "]");
  }
  puts(operation->field_count ? " [--FLAG VALUE…]" : "");
}

/* The flags of what a verb does where nothing is named. */
static void print_bare(const struct verb *verb) {
  const struct cli_operation *bare = verbs_bare(verb);
  if (bare == verbs_operation(verb))
    return;
  for (size_t i = 0; i < bare->field_count; i++)
    if (!verbs_is_word(verb, bare->fields[i].name))
      print_flag(verb, &bare->fields[i]);
}

void help_verb(const struct verb *verb) {
  const struct cli_operation *operation = verbs_operation(verb);
  print_words(stdout, verb->summary, 0, printf("memkeep %s:", verb->name));
  putchar('\n');
  print_usage(verb, operation);
  if (verb->words[0])
    putchar('\n');
  for (int i = 0; i < VERB_WORDS && verb->words[i]; i++) {
    const struct cli_field *field = &operation->fields[table_field(operation, verb->words[i])];
    printf("  %-*s ", COLUMN, field->name);
    print_doc(field, field->required && !verb->bare, false, COLUMN + 3, COLUMN + 3);
  }
  putchar('\n');
  for (size_t i = 0; i < operation->field_count; i++)
    if (!verbs_is_word(verb, operation->fields[i].name))
      print_flag(verb, &operation->fields[i]);
  print_bare(verb);
  printf("\nexample: %s\n\nflags of all verbs: memkeep --help\n", verb->example);
}

void help_hint(FILE *out, const struct globals *globals) {
  const struct verb *verb = verbs_find(globals->words, globals->count);
  const char *action = !verb && table_find(globals->words[1]) ? globals->words[1] : "";
  fprintf(out, "  memkeep %s%s%s --help says what it takes\n", verb ? verb->name : "exec",
          *action ? " " : "", action);
}

void help_exec(void) {
  size_t count;
  const struct cli_operation *operations = table_operations(&count);
  exec_help();
  puts("memkeep exec: any operation by its name\n\n"
       "usage: memkeep exec ACTION [FIELD=VALUE… | JSON]\n\n"
       "memkeep exec ACTION --help lists the fields of one. Actions:");
  for (size_t i = 0; i < count; i++)
    print_row(stdout, 28, operations[i].action, operations[i].summary);
  puts("\nexample: memkeep exec memory.get_status device_id=host:0\n"
       "         memkeep exec memory.allocate '{\"size_bytes\":4096}' --json");
}

void help_operation(const struct cli_operation *operation) {
  printf("memkeep exec %s: %s\n\n", operation->action, operation->summary);
  for (size_t i = 0; i < operation->field_count; i++) {
    const struct cli_field *field = &operation->fields[i];
    int at = printf("  %-*s %-7s ", COLUMN, field->name, field->type);
    print_doc(field, field->required, false, at, at);
  }
  printf("\nexample: memkeep exec %s%s\n", operation->action,
         operation->field_count ? " FIELD=VALUE" : "");
}
