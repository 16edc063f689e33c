/*
 * globals: the flags that every verb knows, wherever they stand.
 */
#ifndef CLI_GLOBALS_H
#define CLI_GLOBALS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/problem.h"

#define GLOBALS_WORDS 256

enum globals_exit { EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE };

enum globals_kind {
  GLOBALS_SOCKET,
  GLOBALS_URL,
  GLOBALS_TOKEN,
  GLOBALS_JSON,
  GLOBALS_TIMEOUT,
  GLOBALS_HELP,
  GLOBALS_VERSION
};

struct globals_flag {
  const char *name;
  enum globals_kind kind;
  const char *value; /* what it takes, NULL: nothing */
  const char *doc;   /* NULL: another word for the one above */
};

/* Ends with a row without a name. */
extern const struct globals_flag globals_flags[];

struct globals {
  const char *socket;           /* NULL: the default */
  const char *url, *token_file; /* NULL: over the socket */
  bool json, help, version;
  uint64_t timeout_ns; /* 0: none */
  const char *words[GLOBALS_WORDS];
  int count; /* of what is left: the verb, its words and its flags */
};

enum status globals_take(int argc, char **argv, struct globals *out, struct problem *problem);

#endif
