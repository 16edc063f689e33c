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
  uint32_t mode;      /* 0: 0600 */
  int64_t group;      /* -1: as it is made */
  struct share given; /* SHARE_NONE, or what listens at `path` already, its file and all; taken */
};

struct listener {
  struct share share;
  uint64_t device, inode; /* of the file that was bound: another one may stand at its path later; 0:
                             it is not ours to unlink */
};

struct listener_peer {
  uint32_t uid;
  int32_t pid; /* 0: in a pid namespace that the kernel does not show us */
};

/* As socket_create. */
enum status listener_open(const struct listener_params *params, struct listener *out,
                          struct problem *problem);
/* Unlinks the file at `path` if it is still the one that was bound, and closes. Harmless on a
 * zeroed listener. */
void listener_close(struct listener *listener, const char *path);
/* The next client; false: none waits (errno is EAGAIN), or there is no descriptor for it. A client
 * whose user the kernel does not tell is closed at once. */
bool listener_accept(const struct listener *listener, struct share *client,
                     struct listener_peer *peer);
/* After the end of what a client sends: whether it is gone, or still reads. */
bool listener_client_left(const struct share *client);

#endif
