/*
 * finder: asks `memkeep-worker --find` which cards there are that are found only with their drivers
 * in the process. Whatever these do, crash, hang or print, the daemon starts within two seconds of
 * the question, with what was told by then. Start-up only, one thread.
 */
#ifndef DAEMON_FINDER_H
#define DAEMON_FINDER_H

#include "base/packet.h"
#include "base/spawn.h"
#include "device/spec.h"

#define FINDER_WHY 160

struct finder {
  struct spawn_child child;
  struct share end; /* SHARE_NONE: nothing was asked */
  uint64_t deadline;
};

/* Asks, and waits for nothing. Where the program cannot be started nothing is asked. */
void finder_start(struct finder *finder, const char *program);
/* The answer: cards, each `found`. Returns how many of `out` were filled; `why` says what kept the
 * rest of the answer away, "" when it is whole, or nothing was asked. */
unsigned finder_take(struct finder *finder, struct spec *out, unsigned max, char why[FINDER_WHY]);

#endif
