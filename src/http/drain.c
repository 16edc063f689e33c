/*
 * drain: only drain_look removes entries, others add at the end.
 */
#include "http/drain.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#define DRAIN_MS 2000
#define DRAIN_BYTES ((uint64_t)16 << 20)

void drain_init(struct drain *drain) {
  drain->count = 0;
  lock_init(&drain->lock, LOCK_RANK_LEAF, "drain");
}

void drain_done(struct drain *drain) {
  for (unsigned i = 0; i < drain->count; i++)
    close(drain->all[i].fd);
  lock_done(&drain->lock);
}

void drain_take(struct drain *drain, int fd) {
  LOCK_SCOPE(&drain->lock);
  if (drain->count == DRAIN_MAX)
    close(fd);
  else
    drain->all[drain->count++] = (struct draining){.fd = fd, .left = DRAIN_BYTES};
}

/* Whether there may be more. */
static bool read_rest(struct draining *one) {
  char rest[16384];
  while (one->left) {
    ssize_t n = recv(one->fd, rest, sizeof rest, MSG_DONTWAIT);
    if (n <= 0)
      return n < 0 && (errno == EAGAIN || errno == EINTR);
    one->left -= (uint64_t)n < one->left ? (uint64_t)n : one->left;
  }
  return false;
}

void drain_look(struct drain *drain, uint64_t now_ms) {
  LOCK_SCOPE(&drain->lock);
  for (unsigned i = 0; i < drain->count;) {
    struct draining *one = &drain->all[i];
    if (!one->until_ms)
      one->until_ms = now_ms + DRAIN_MS;
    if (now_ms < one->until_ms && read_rest(one)) {
      i++;
      continue;
    }
    close(one->fd);
    *one = drain->all[--drain->count];
  }
}

unsigned drain_poll(struct drain *drain, struct pollfd *out) {
  LOCK_SCOPE(&drain->lock);
  for (unsigned i = 0; i < drain->count; i++)
    out[i] = (struct pollfd){.fd = drain->all[i].fd, .events = POLLIN};
  return drain->count;
}
