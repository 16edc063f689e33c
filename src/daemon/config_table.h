/*
 * config_table: THE table of settings. One row drives the flag (--tls-key), the environment
 * (MEMKEEP_TLS_KEY), the key in the file (tls { key = … }) and --help.
 */
#ifndef DAEMON_CONFIG_TABLE_H
#define DAEMON_CONFIG_TABLE_H

#include <stddef.h>

#include "daemon/config.h"

enum config_kind {
  CONFIG_TEXT,   /* a string */
  CONFIG_NUMBER, /* a number, or a string with a unit */
  CONFIG_SWITCH, /* true or false; the flag alone means true */
  CONFIG_LIST, /* strings; each layer replaces the one below. In the environment ';' parts them, in
                  the file the key may end in s */
};

enum { CONFIG_FLAG = 1, CONFIG_ENVIRONMENT = 2, CONFIG_FILE = 4, CONFIG_EVERYWHERE = 7 };

#define CONFIG_TABLE_MAX 64 /* settings */

struct config_setting {
  const char *name; /* "listen", "tls.key"; "tokens.name": of a row in the list "tokens" */
  enum config_kind kind;
  int where;
  const char *argument; /* "HOST:PORT", for --help */
  const char *doc;
  /* Takes over what `text` says, or sets a problem with the bare reason. */
  enum status (*set)(const struct config_setting *setting, struct config *config, const char *text,
                     struct problem *problem);
  size_t offset; /* of the member that it sets */
  size_t size;   /* of a char[] */
  size_t count;  /* CONFIG_LIST: offset of how many there are */
};

const struct config_setting *config_table_rows(size_t *count);
/* A setting by name; NULL: there is none. */
const struct config_setting *config_table_find(const char *name);
/* Whether settings begin with "name.". */
bool config_table_is_group(const char *name);
/* Text into an array of so many bytes; INVALID_ARGUMENT: it is empty, or too long. */
enum status config_table_put(char *out, size_t size, const char *text, struct problem *problem);

#endif
