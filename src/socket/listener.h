/*
 * listener: the socket file, and who connects to it. The one place of this room that knows
 * descriptors.
 */
#ifndef SOCKET_LISTENER_H
#define SOCKET_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/share.h"

struct listener_params {
  const char *path;
  uint32_t mode; /* 0: 0600 */
  int64_t group; /* -1: as it is made */
};

struct listener_peer {
  uint32_t uid;
  int32_t pid; /* 0: in a pid namespace that the kernel does not show us */
};

/* As socket_create. */
enum status listener_open(const struct listener_params *params, struct share *out,
                          struct problem *problem);
/* The next client; false: none waits (errno is EAGAIN), or there is no descriptor for it. */
bool listener_accept(const struct share *listener, struct share *client,
                     struct listener_peer *peer);

#endif
