/*
 * minute: the first that comes when a minute is over begins the next.
 */
#include "daemon/minute.h"

#include "base/clock.h"

#define MINUTE_NS (60 * CLOCK_SECOND)

unsigned minute_count(struct minute *minute) {
  uint64_t now = clock_now();
  if (!minute->count || now - minute->since_ns > MINUTE_NS)
    *minute = (struct minute){.since_ns = now};
  return ++minute->count;
}
