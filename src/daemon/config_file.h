/*
 * config_file: a file in libconfig's syntax as a series of items: the only file that includes the
 * library.
 */
#ifndef DAEMON_CONFIG_FILE_H
#define DAEMON_CONFIG_FILE_H

#include "base/problem.h"

enum config_file_type {
  CONFIG_FILE_TEXT,   /* key = "text"; also each element of a list */
  CONFIG_FILE_NUMBER, /* key = 5, as text */
  CONFIG_FILE_SWITCH, /* key = true, as text */
  CONFIG_FILE_GROUP,  /* key { …: its members follow as "key.member" */
  CONFIG_FILE_LIST,   /* key [ … or key ( …: its elements follow */
  CONFIG_FILE_ROW,    /* a group in a list: its members follow */
  CONFIG_FILE_ROW_END
};

struct config_file_item {
  enum config_file_type type;
  const char *key;  /* "listen", "tls.key" */
  const char *text; /* NULL where there is none */
  const char *file; /* an included one, or the one that was asked for */
  unsigned line;
  bool in_list;
};

/* Anything but OK ends the reading. */
typedef enum status config_file_fn(void *arg, const struct config_file_item *item);

struct config_file_error {
  char file[1024];
  unsigned line; /* 0: it could not be read at all */
  char reason[160];
};

/* OK; NOT_FOUND: there is no such file; INVALID_ARGUMENT: see the error; or what fn returned. */
enum status config_file_read(const char *path, config_file_fn *fn, void *arg,
                             struct config_file_error *error);

#endif
