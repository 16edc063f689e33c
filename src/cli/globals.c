/*
 * globals: picked out of the words; what is left keeps its order. After "--" every word is left.
 */
#include "cli/globals.h"

#include <string.h>

#include "base/units.h"

const struct globals_flag globals_flags[] = {
    {"--socket", GLOBALS_SOCKET, "PATH",
     "the daemon's socket (MEMKEEP_SOCKET, else the runtime directory's)"},
    {"--url", GLOBALS_URL, "URL", "over HTTP instead: http://127.0.0.1:7171, https://host:port"},
    {"--token-file", GLOBALS_TOKEN, "FILE",
     "who asks there: a file with a token of the daemon's configuration"},
    {"--json", GLOBALS_JSON, NULL, "the answer as it came, as over HTTP"},
    {"--timeout", GLOBALS_TIMEOUT, "TIME", "wait no longer: 30, 500ms, 5m"},
    {"--help", GLOBALS_HELP, NULL, "this, or the help of a verb"},
    {"-h", GLOBALS_HELP, NULL, NULL},
    {"--version", GLOBALS_VERSION, NULL, "which memkeep this is"},
    {NULL, GLOBALS_HELP, NULL, NULL},
};

static const struct globals_flag *find(const char *word) {
  size_t n = strcspn(word, "=");
  for (const struct globals_flag *flag = globals_flags; flag->name; flag++)
    if (strlen(flag->name) == n && strncmp(flag->name, word, n) == 0)
      return flag;
  return NULL;
}

static enum status set(struct globals *globals, const struct globals_flag *flag, const char *value,
                       struct problem *problem) {
  switch (flag->kind) {
  case GLOBALS_SOCKET:
    globals->socket = value;
    return STATUS_OK;
  case GLOBALS_URL:
    globals->url = value;
    return STATUS_OK;
  case GLOBALS_TOKEN:
    globals->token_file = value;
    return STATUS_OK;
  case GLOBALS_TIMEOUT:
    if (units_parse_duration(value, &globals->timeout_ns) && globals->timeout_ns)
      return STATUS_OK;
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "--timeout %.40s is no time, such as 30, 500ms or 5m", value);
  default:
    globals->json |= flag->kind == GLOBALS_JSON;
    globals->help |= flag->kind == GLOBALS_HELP;
    globals->version |= flag->kind == GLOBALS_VERSION;
    return STATUS_OK;
  }
}

/* Reads the flag at argv[*i], and its value. */
static enum status take(char **argv, int *i, struct globals *out, struct problem *problem) {
  const struct globals_flag *flag = find(argv[*i]);
  const char *equals = strchr(argv[*i], '=');
  if (equals && !flag->value)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s takes no value", flag->name);
  if (!flag->value)
    return set(out, flag, NULL, problem);
  const char *value = equals ? equals + 1 : argv[++*i];
  if (!value)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s wants a value", flag->name);
  return set(out, flag, value, problem);
}

static enum status check(const struct globals *globals, struct problem *problem) {
  if (globals->url && globals->socket)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "--url or --socket, not both");
  if (globals->token_file && !globals->url)
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "--token-file goes with --url: on the socket the kernel says who asks");
  return STATUS_OK;
}

enum status globals_take(int argc, char **argv, struct globals *out, struct problem *problem) {
  bool only_words = false;
  enum status status = STATUS_OK;
  *out = (struct globals){.count = 0};
  for (int i = 1; i < argc && !status; i++) {
    bool ends = !only_words && strcmp(argv[i], "--") == 0;
    if (!only_words && !ends && find(argv[i]))
      status = take(argv, &i, out, problem);
    else if (out->count == GLOBALS_WORDS)
      status = problem_set(problem, STATUS_INVALID_ARGUMENT, "too many words");
    else
      out->words[out->count++] = argv[i];
    only_words |= ends;
  }
  return status ? status : check(out, problem);
}
