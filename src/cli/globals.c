/*
 * globals: picked out of the words; what is left keeps its order. After "--" every word is left.
 */
#include "cli/globals.h"

#include <string.h>

#include "base/units.h"

enum flag { FLAG_SOCKET, FLAG_URL, FLAG_TOKEN, FLAG_TIMEOUT, FLAG_JSON, FLAG_HELP, FLAG_VERSION };

static const struct name {
  const char *text;
  enum flag flag;
  bool takes_value;
} names[] = {
    {"--socket", FLAG_SOCKET, true}, {"--timeout", FLAG_TIMEOUT, true},
    {"--json", FLAG_JSON, false},    {"--help", FLAG_HELP, false},
    {"-h", FLAG_HELP, false},        {"--version", FLAG_VERSION, false},
    {"--url", FLAG_URL, true},       {"--token-file", FLAG_TOKEN, true},
};

static const struct name *find(const char *word) {
  size_t n = strcspn(word, "=");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strlen(names[i].text) == n && strncmp(names[i].text, word, n) == 0)
      return &names[i];
  return NULL;
}

static enum status set(struct globals *globals, const struct name *name, const char *value,
                       struct problem *problem) {
  switch (name->flag) {
  case FLAG_SOCKET:
    globals->socket = value;
    return STATUS_OK;
  case FLAG_URL:
    globals->url = value;
    return STATUS_OK;
  case FLAG_TOKEN:
    globals->token_file = value;
    return STATUS_OK;
  case FLAG_TIMEOUT:
    if (units_parse_duration(value, &globals->timeout_ns) && globals->timeout_ns)
      return STATUS_OK;
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "--timeout %.40s is no time, such as 30, 500ms or 5m", value);
  default:
    globals->json |= name->flag == FLAG_JSON;
    globals->help |= name->flag == FLAG_HELP;
    globals->version |= name->flag == FLAG_VERSION;
    return STATUS_OK;
  }
}

/* Reads the flag at argv[*i], and its value. */
static enum status take(char **argv, int *i, struct globals *out, struct problem *problem) {
  const struct name *name = find(argv[*i]);
  const char *equals = strchr(argv[*i], '=');
  if (equals && !name->takes_value)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s takes no value", name->text);
  if (!name->takes_value)
    return set(out, name, NULL, problem);
  const char *value = equals ? equals + 1 : argv[++*i];
  if (!value)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s wants a value", name->text);
  return set(out, name, value, problem);
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
