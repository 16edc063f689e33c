/*
 * config_listen: "127.0.0.1:7171", "[::1]:7171", "localhost:7171": numbers, for a name could mean
 * anything.
 */
#ifndef DAEMON_CONFIG_LISTEN_H
#define DAEMON_CONFIG_LISTEN_H

#include <stdint.h>

#include "base/problem.h"

struct config_listen {
  char address[64]; /* numeric, without brackets */
  uint16_t port;
};
/* INVALID_ARGUMENT with the reason; *out is untouched then. */
enum status config_listen_parse(const char *text, struct config_listen *out,
                                struct problem *problem);

#endif
