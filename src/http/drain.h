/*
 * drain: connections that are over for us while the other end may still be sending. Closing them
 * at once would reset them, and the answer would be lost on its way; so they are read to their end,
 * for a while and up to some bytes.
 */
#ifndef HTTP_DRAIN_H
#define HTTP_DRAIN_H

#include <poll.h>
#include <stdint.h>

#include "base/lock.h"

#define DRAIN_MAX 64

struct drain {
  struct lock lock;
  struct draining {
    int fd;
    uint64_t until_ms; /* 0: is set at the next look */
    uint64_t left;     /* bytes */
  } all[DRAIN_MAX];
  unsigned count;
};

void drain_init(struct drain *drain);
void drain_done(struct drain *drain);
/* Takes the fd; it is closed at once when there are too many. */
void drain_take(struct drain *drain, int fd);
/* Reads what there is, closes what is done. One thread. */
void drain_look(struct drain *drain, uint64_t now_ms);
/* What to wait for before the next look; at most DRAIN_MAX entries. */
unsigned drain_poll(struct drain *drain, struct pollfd *out);

#endif
