/*
 * manual: prints what is made from the command line's own tables.
 *
 *   manual bash   the completion of memkeep for bash, and for zsh through bashcompinit
 *   manual fish   the same for fish
 *   manual man    memkeep(1)
 */
#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "cli/globals.h"
#include "cli/table.h"
#include "cli/verbs.h"

static void print_hyphened(const char *name) {
  for (; *name; name++)
    putchar(*name == '_' ? '-' : *name);
}

/* A field that a flag of all verbs sets already. */
static bool is_global(const struct cli_field *field) {
  for (const struct globals_flag *flag = globals_flags; flag->name; flag++)
    if (strcmp(flag->name + 2, field->name) == 0)
      return true;
  return false;
}

/* ---- bash ---- */

static void print_global_flags(const char *between, bool with_value) {
  bool begun = false;
  for (const struct globals_flag *flag = globals_flags; flag->name; flag++)
    if (!with_value || flag->value) {
      printf("%s%s", begun ? between : "", flag->name);
      begun = true;
    }
}

/* The first word of a verb of two words; *size: of it. */
static bool is_group(const struct verb *verb, int *size) {
  *size = (int)strcspn(verb->name, " ");
  return verb->name[*size];
}

/* Whether an earlier verb begins with the same word. */
static bool is_known(const struct verb *verb) {
  size_t n = strcspn(verb->name, " ");
  for (const struct verb *one = verbs; one != verb; one++)
    if (strcspn(one->name, " ") == n && strncmp(one->name, verb->name, n) == 0)
      return true;
  return false;
}

/* First words, each once. */
static void print_verbs(const char *between) {
  for (const struct verb *verb = verbs; verb->name; verb++)
    if (!is_known(verb))
      printf("%.*s%s", (int)strcspn(verb->name, " "), verb->name, between);
  printf("exec");
}

/* Where a first word has a second behind it, both are the verb. */
static void print_groups(void) {
  int n;
  for (const struct verb *verb = verbs; verb->name; verb++)
    if (is_group(verb, &n) && !is_known(verb))
      printf("%.*s) verb=%.*s; [ $((i + 1)) -lt \"$COMP_CWORD\" ] && "
             "verb=\"%.*s ${COMP_WORDS[i + 1]}\" ;;\n    ",
             n, verb->name, n, verb->name, n, verb->name);
}

static void print_members(void) {
  int n;
  for (const struct verb *verb = verbs; verb->name; verb++) {
    if (!is_group(verb, &n) || is_known(verb))
      continue;
    printf("  %.*s:*) choices=\"", n, verb->name);
    for (const struct verb *one = verb; one->name; one++)
      if (strncmp(one->name, verb->name, (size_t)n + 1) == 0)
        printf("%s ", one->name + n + 1);
    puts("\" ;;");
  }
}

/* The words of a field stand at the end of its doc: "what it is for: a, b". NULL: it has none. */
static const char *words_of(const struct cli_field *field) {
  const char *words = strcmp(field->type, "word") ? NULL : strrchr(field->doc, ':');
  return words ? words + 2 : NULL;
}

static void print_choices(const char *words) {
  for (; *words; words++)
    if (*words != ',')
      putchar(*words);
}

static void print_words(const struct verb *verb, const struct cli_field *field) {
  const char *words = words_of(field);
  if (!words)
    return;
  printf("  \"%s\":--", verb->name);
  print_hyphened(verbs_flag(verb, field->name));
  printf(") choices=\"");
  print_choices(words);
  puts("\" ;;");
}

static void print_flags(const struct verb *verb, const struct cli_operation *operation) {
  for (size_t i = 0; i < operation->field_count; i++) {
    const struct cli_field *field = &operation->fields[i];
    if (verbs_is_word(verb, field->name) || is_global(field))
      continue;
    printf("--%s", table_is_on(field) ? "no-" : "");
    print_hyphened(verbs_flag(verb, field->name));
    putchar(' ');
  }
}

static void print_verb(const struct verb *verb) {
  const struct cli_operation *operation = verbs_operation(verb), *bare = verbs_bare(verb);
  for (size_t i = 0; i < operation->field_count; i++)
    print_words(verb, &operation->fields[i]);
  for (size_t i = 0; bare != operation && i < bare->field_count; i++)
    if (!verbs_is_word(verb, bare->fields[i].name))
      print_words(verb, &bare->fields[i]);
  printf("  \"%s\":*) flags=\"", verb->name);
  print_flags(verb, operation);
  if (bare != operation)
    print_flags(verb, bare);
  puts("\" ;;");
}

static int print_bash(void) {
  size_t count;
  const struct cli_operation *operations = table_operations(&count);
  printf(
      "# Completion of memkeep for bash; for zsh: autoload -U bashcompinit && bashcompinit, then\n"
      "# source it. Made by `manual bash` from the tables of the command line.\n"
      "_memkeep() {\n"
      "  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD - 1]}\"\n"
      "  local verb=\"\" flags=\"\" choices=\"\" i=1\n"
      "  COMPREPLY=()\n"
      "  while [ \"$i\" -lt \"$COMP_CWORD\" ] && [ -z \"$verb\" ]; do\n"
      "    case \"${COMP_WORDS[i]}\" in\n    ");
  print_global_flags(" | ", true);
  printf(") i=$((i + 1)) ;;\n    ");
  print_groups();
  print_verbs(" | ");
  printf(") verb=\"${COMP_WORDS[i]}\" ;;\n"
         "    esac\n"
         "    i=$((i + 1))\n"
         "  done\n"
         "  case \"$prev\" in\n"
         "  --socket | --token-file) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
         "  --url | --timeout) return ;;\n"
         "  esac\n"
         "  case \"$verb:$prev\" in\n"
         "  :*) choices=\"");
  print_verbs(" ");
  puts("\" ;;");
  printf("  exec:exec) choices=\"");
  for (size_t i = 0; i < count; i++)
    printf("%s%s", i ? " " : "", operations[i].action);
  puts("\" ;;");
  print_members();
  for (const struct verb *verb = verbs; verb->name; verb++)
    print_verb(verb);
  printf("  esac\n"
         "  case \"$cur\" in\n"
         "  -*) choices=\"$flags ");
  print_global_flags(" ", false);
  puts("\" ;;\n"
       "  esac\n"
       "  COMPREPLY=($(compgen -W \"$choices\" -- \"$cur\"))\n"
       "}\n"
       "complete -F _memkeep memkeep");
  return 0;
}

/* ---- fish ---- */

static void print_quoted(const char *text) {
  putchar('\'');
  for (; *text; text++)
    printf(*text == '\'' || *text == '\\' ? "\\%c" : "%c", *text);
  putchar('\'');
}

/* That the words of a verb have been said; "status" is one of its own, and one behind "model". */
static void print_fish_when(const struct verb *verb) {
  const char *name = verb->name;
  int n;
  if (is_group(verb, &n)) {
    printf("-n '__fish_seen_subcommand_from %.*s; and __fish_seen_subcommand_from %s'", n, name,
           name + n + 1);
    return;
  }
  printf("-n '__fish_seen_subcommand_from %s", name);
  for (const struct verb *one = verbs; one->name; one++)
    if (is_group(one, &n) && strcmp(one->name + n + 1, name) == 0)
      printf("; and not __fish_seen_subcommand_from %.*s", n, one->name);
  putchar('\'');
}

static void print_fish_flag(const struct verb *verb, const struct cli_field *field) {
  const char *words = words_of(field);
  printf("complete -c memkeep ");
  print_fish_when(verb);
  printf(" -l %s", table_is_on(field) ? "no-" : "");
  print_hyphened(verbs_flag(verb, field->name));
  if (strcmp(field->type, "bool") != 0)
    printf(" -x");
  if (words) {
    printf(" -a '");
    print_choices(words);
    putchar('\'');
  }
  printf(table_is_on(field) ? " -d 'do not: '" : " -d ");
  print_quoted(field->doc);
  putchar('\n');
}

static void print_fish_globals(void) {
  for (const struct globals_flag *flag = globals_flags; flag->name; flag++) {
    bool is_file = flag->kind == GLOBALS_SOCKET || flag->kind == GLOBALS_TOKEN;
    bool is_long = flag->name[1] == '-';
    printf("complete -c memkeep %s %s%s", is_long ? "-l" : "-s", flag->name + 1 + is_long,
           !flag->value ? ""
           : is_file    ? " -r -F"
                        : " -x");
    printf(flag->doc ? " -d " : "\n");
    if (flag->doc) {
      print_quoted(flag->doc);
      putchar('\n');
    }
  }
}

static void print_fish_member(const struct verb *verb, int n) {
  if (!is_known(verb))
    printf("complete -c memkeep -n \"not __fish_seen_subcommand_from $verbs\" -a %.*s\n", n,
           verb->name);
  printf("complete -c memkeep -n '__fish_seen_subcommand_from %.*s; and not "
         "__fish_seen_subcommand_from",
         n, verb->name);
  for (const struct verb *one = verbs; one->name; one++)
    if (strncmp(one->name, verb->name, (size_t)n + 1) == 0)
      printf(" %s", one->name + n + 1);
  printf("' -a %s -d ", verb->name + n + 1);
}

static void print_fish_flags(const struct verb *verb, const struct cli_operation *operation) {
  for (size_t i = 0; i < operation->field_count; i++)
    if (!verbs_is_word(verb, operation->fields[i].name) && !is_global(&operation->fields[i]))
      print_fish_flag(verb, &operation->fields[i]);
}

static void print_fish_verb(const struct verb *verb) {
  int n;
  if (is_group(verb, &n))
    print_fish_member(verb, n);
  else
    printf("complete -c memkeep -n \"not __fish_seen_subcommand_from $verbs\" -a %s -d ",
           verb->name);
  print_quoted(verb->summary);
  putchar('\n');
  print_fish_flags(verb, verbs_operation(verb));
  if (verbs_bare(verb) != verbs_operation(verb))
    print_fish_flags(verb, verbs_bare(verb));
}

static int print_fish(void) {
  size_t count;
  const struct cli_operation *operations = table_operations(&count);
  printf("# Completion of memkeep for fish. Made by `manual fish` from the tables of the command "
         "line.\nset -l verbs ");
  print_verbs(" ");
  puts("\ncomplete -c memkeep -f");
  for (const struct verb *verb = verbs; verb->name; verb++)
    print_fish_verb(verb);
  puts("complete -c memkeep -n \"not __fish_seen_subcommand_from $verbs\" -a exec "
       "-d 'any operation by its name'");
  for (size_t i = 0; i < count; i++)
    printf("complete -c memkeep -n '__fish_seen_subcommand_from exec' -a %s\n",
           operations[i].action);
  print_fish_globals();
  return 0;
}

/* ---- man ---- */

/* Text of roff: a hyphen is one that can be copied, a line never begins with a request. */
static void print_roff(const char *text) {
  if (*text == '.' || *text == '\'')
    printf("\\&");
  for (; *text; text++)
    if (*text == '-')
      printf("\\-");
    else if (*text == '\\')
      printf("\\e");
    else if (strncmp(text, "…", strlen("…")) == 0)
      printf("..."), text += strlen("…") - 1;
    else
      putchar(*text);
}

static void print_name(const char *name) {
  for (; *name; name++)
    printf(*name == '_' ? "\\-" : "%c", *name);
}

static void print_item(const struct verb *verb, const struct cli_field *field) {
  puts(".TP");
  if (verbs_is_word(verb, field->name)) {
    printf("\\fI");
    print_name(field->name);
    puts("\\fR");
  } else {
    printf("\\fB\\-\\-%s", table_is_on(field) ? "no\\-" : "");
    print_name(verbs_flag(verb, field->name));
    printf("\\fR \\fI%s\\fR\n", table_value(field));
  }
  if (table_is_on(field))
    printf("do not: ");
  print_roff(field->doc);
  if (field->required && !verb->bare)
    printf(" (required)");
  else if (field->otherwise && *field->type != 'b')
    printf(" (%s)", field->otherwise);
  putchar('\n');
}

static void print_items(const struct verb *verb, const struct cli_operation *operation,
                        bool words) {
  for (size_t i = 0; i < operation->field_count; i++)
    if (verbs_is_word(verb, operation->fields[i].name) == words &&
        !is_global(&operation->fields[i]))
      print_item(verb, &operation->fields[i]);
}

static void print_section(const struct verb *verb) {
  const struct cli_operation *operation = verbs_operation(verb), *bare = verbs_bare(verb);
  printf(".SS ");
  print_roff(verb->name);
  putchar('\n');
  print_roff(verb->summary);
  printf(".\n");
  print_items(verb, operation, true);
  print_items(verb, operation, false);
  if (bare != operation)
    print_items(verb, bare, false);
  printf(".PP\nExample: \\fB");
  print_roff(verb->example);
  printf("\\fR\n");
}

static void print_globals(void) {
  puts(".SH FLAGS OF ALL VERBS\nThey stand before or after the verb.");
  for (const struct globals_flag *flag = globals_flags; flag->name; flag++) {
    if (!flag->doc)
      continue;
    printf(".TP\n\\fB");
    print_roff(flag->name);
    printf("\\fR \\fI%s\\fR\n", flag->value ? flag->value : "");
    print_roff(flag->doc);
    putchar('\n');
  }
}

static int print_man(void) {
  puts(".\\\" Made by `manual man` from the tables of the command line.\n"
       ".TH MEMKEEP 1 \"\" \"memkeep " VERSION_TEXT "\" \"Memkeep\"\n"
       ".SH NAME\n"
       "memkeep \\- ask the daemon that keeps the memory of this host's devices\n"
       ".SH SYNOPSIS\n"
       "\\fBmemkeep\\fR \\fIVERB\\fR [\\fIWORD\\fR...] [\\fB\\-\\-\\fIFLAG VALUE\\fR...]\n"
       ".SH DESCRIPTION\n"
       "Asks \\fBmemkeepd\\fR(8) over its Unix socket, or over HTTP with \\fB\\-\\-url\\fR. Sizes "
       "are\n"
       "4096, 512M or 8GiB (powers of 1024), times 30, 500ms or 5m.\n"
       ".SH VERBS");
  for (const struct verb *verb = verbs; verb->name; verb++)
    print_section(verb);
  puts(".SS exec\n"
       "any operation by its name, with \\fIFIELD\\fR=\\fIVALUE\\fR words or one JSON object;\n"
       "\\fBmemkeep exec \\-\\-help\\fR lists them.\n"
       ".PP\n"
       "\\fBmemkeep exec \\-\\-model\\fR \\fINAME\\fR \\fB\\-\\-\\fR \\fIPROGRAM\\fR ...\n"
       "runs a program that reads a model from memory as if it were its files:\n"
       "{} in its words stands for the model's path. It ends as the program does.");
  print_globals();
  puts(".SH ENVIRONMENT\n"
       ".TP\n\\fBMEMKEEP_SOCKET\\fR\nthe daemon's socket, unless \\fB\\-\\-socket\\fR names it\n"
       ".TP\n\\fBSSL_CERT_FILE\\fR\ncertificates that \\fB\\-\\-url https://...\\fR trusts\n"
       ".TP\n\\fBNO_COLOR\\fR\nno colours, no bars\n"
       ".SH EXIT STATUS\n"
       "0 done, 1 failed, 2 wrong usage, 3 the daemon is not reachable.\n"
       ".SH SEE ALSO\n"
       "\\fBmemkeepd\\fR(8), \\fBmemkeep\\-vault\\fR(8), \\fBmemkeep\\-worker\\fR(8)");
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "bash") == 0)
    return print_bash();
  if (argc == 2 && strcmp(argv[1], "fish") == 0)
    return print_fish();
  if (argc == 2 && strcmp(argv[1], "man") == 0)
    return print_man();
  fputs("usage: manual bash | manual fish | manual man\n", stderr);
  return 2;
}
