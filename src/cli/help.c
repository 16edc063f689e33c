/*
 * help: made from the two tables, so that it cannot be out of date.
 */
#include "cli/help.h"

#include <string.h>

#define COLUMN 26

void help_program(FILE *out) {
  fputs("memkeep: asks the daemon (memkeepd) that keeps the memory of this host's devices\n"
        "\n"
        "usage: memkeep VERB [WORD…] [--FLAG VALUE…]\n"
        "\n"
        "verbs\n",
        out);
  for (const struct verb *verb = verbs; verb->name; verb++)
    fprintf(out, "  %-12s %s\n", verb->name, verb->summary);
  fputs("  exec         any operation by its name, with fields or JSON\n"
        "\n"
        "flags of all verbs, wherever they stand\n"
        "  --socket PATH     the daemon's socket (MEMKEEP_SOCKET, else the runtime directory's)\n"
        "  --url URL         over HTTP instead: http://127.0.0.1:7171, https://host:port\n"
        "  --token-file FILE who asks there: a file with a token of the daemon's configuration\n"
        "  --json            the answer as it came, as over HTTP\n"
        "  --timeout TIME    wait no longer: 30, 500ms, 5m\n"
        "  --help            this, or the help of a verb\n"
        "  --version\n"
        "\n"
        "sizes are 4096, 512M or 8GiB (powers of 1024). Exit codes: 0 done, 1 failed, 2 usage,\n"
        "3 not reachable.\n"
        "\n"
        "example: memkeep alloc 8GiB --device host:0 --label cache\n",
        out);
}

static bool is_word(const struct verb *verb, const char *field) {
  for (int i = 0; i < VERB_WORDS && verb->words[i]; i++)
    if (strcmp(verb->words[i], field) == 0)
      return true;
  return false;
}

static const char *flag_of(const struct verb *verb, const char *field) {
  for (int i = 0; i < VERB_NAMES && verb->names[i].flag; i++)
    if (strcmp(verb->names[i].field, field) == 0)
      return verb->names[i].flag;
  return field;
}

static void print_hyphened(const char *name) {
  for (; *name; name++)
    putchar(*name == '_' ? '-' : *name);
}

static const char *value_of(const struct cli_field *field) {
  size_t n = strlen(field->name);
  if (*field->type == 'b')
    return "";
  if (n > 6 && strcmp(field->name + n - 6, "_bytes") == 0)
    return " SIZE";
  switch (*field->type) {
  case 'u':
  case 'n':
    return " N";
  case 'w':
    return " WORD";
  case 'j':
    return " JSON";
  default:
    return strcmp(field->type, "int") == 0  ? " N"
           : strcmp(field->type, "id") == 0 ? " ID"
                                            : " TEXT";
  }
}

static void print_doc(const struct cli_field *field, bool needed) {
  printf("%s", field->doc);
  if (needed)
    printf(" (required)");
  else if (field->otherwise)
    printf(" (%s)", field->otherwise);
  putchar('\n');
}

static void print_flag(const struct verb *verb, const struct cli_field *field) {
  const char *flag = flag_of(verb, field->name), *value = value_of(field);
  bool off = *field->type == 'b' && field->otherwise && strcmp(field->otherwise, "true") == 0;
  size_t width = strlen(flag) + strlen(value) + (off ? 5 : 2);
  printf("  --%s", off ? "no-" : "");
  print_hyphened(flag);
  printf("%s%*s ", value, width < COLUMN ? (int)(COLUMN - width) : 0, "");
  if (off)
    printf("do not: ");
  print_doc(field, field->required);
}

static void print_usage(const struct verb *verb, const struct cli_operation *operation) {
  printf("usage: memkeep %s", verb->name);
  for (int i = 0; i < VERB_WORDS && verb->words[i]; i++) {
    const struct cli_field *field = &operation->fields[table_field(operation, verb->words[i])];
    bool needed = field->required && !verb->bare;
    printf(needed ? " " : " [");
    print_hyphened(field->name);
    printf(needed ? "" : "]");
  }
  puts(operation->field_count ? " [--FLAG VALUE…]" : "");
}

void help_verb(const struct verb *verb) {
  const struct cli_operation *operation = table_find(verb->action);
  printf("memkeep %s: %s\n\n", verb->name, verb->summary);
  print_usage(verb, operation);
  if (verb->words[0])
    putchar('\n');
  for (int i = 0; i < VERB_WORDS && verb->words[i]; i++) {
    const struct cli_field *field = &operation->fields[table_field(operation, verb->words[i])];
    printf("  %-*s ", COLUMN, field->name);
    print_doc(field, field->required && !verb->bare);
  }
  putchar('\n');
  for (size_t i = 0; i < operation->field_count; i++)
    if (!is_word(verb, operation->fields[i].name))
      print_flag(verb, &operation->fields[i]);
  printf("\nexample: %s\n\nflags of all verbs: memkeep --help\n", verb->example);
}

void help_exec(void) {
  size_t count;
  const struct cli_operation *operations = table_operations(&count);
  puts("memkeep exec: any operation by its name\n\n"
       "usage: memkeep exec ACTION [FIELD=VALUE… | JSON]\n\n"
       "memkeep exec ACTION --help lists the fields of one. Actions:");
  for (size_t i = 0; i < count; i++)
    printf("  %-28s %s\n", operations[i].action, operations[i].summary);
  puts("\nexample: memkeep exec memory.get_status device_id=host:0\n"
       "         memkeep exec memory.allocate '{\"size_bytes\":4096}' --json");
}

void help_operation(const struct cli_operation *operation) {
  printf("memkeep exec %s: %s\n\n", operation->action, operation->summary);
  for (size_t i = 0; i < operation->field_count; i++) {
    const struct cli_field *field = &operation->fields[i];
    printf("  %-*s %-7s ", COLUMN, field->name, field->type);
    print_doc(field, field->required);
  }
  printf("\nexample: memkeep exec %s%s\n", operation->action,
         operation->field_count ? " FIELD=VALUE" : "");
}
