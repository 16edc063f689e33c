/*
 * minute: how often something happened lately, for what may happen only so often. Zeroed at first.
 */
#ifndef DAEMON_MINUTE_H
#define DAEMON_MINUTE_H

#include <stdint.h>

struct minute {
  uint64_t since_ns;
  unsigned count;
};

/* Counts one more: which one this is since a minute that began with the first. */
unsigned minute_count(struct minute *minute);

#endif
