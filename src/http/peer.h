/*
 * peer: who is at the other end of a loopback connection. The kernel knows the uid of every local
 * socket; NETLINK_SOCK_DIAG tells it, and where that is not to be had, /proc/net/tcp. A socket that
 * its process has closed already belongs to nobody: the kernel would then say root.
 */
#ifndef HTTP_PEER_H
#define HTTP_PEER_H

#include <stdbool.h>
#include <stdint.h>

struct peer {
  bool local; /* a loopback connection */
  bool known; /* uid holds */
  uint32_t uid;
  const char *reason; /* why it is not known: a sentence, static */
};

/* `fd` is our end of a TCP connection. A few system calls; once per connection. */
void peer_look(int fd, struct peer *out);

#endif
