/*
 * rate: a bucket is one time, the one at which it will be full again: a request puts that off by
 * its share of a second, and is one too many if that would be more than a second away. A bucket
 * that is full is like one that was never used, so its place is free.
 */
#include "base/rate.h"

#include <string.h>

#include "base/clock.h"

void rate_init(struct rate *rate, unsigned per_second) {
  memset(rate, 0, sizeof *rate);
  rate->each_ns = per_second ? CLOCK_SECOND / per_second : 0;
}

/* NULL: all places are taken by others. */
static struct rate_caller *find(struct rate *rate, uint32_t domain, uint64_t now_ns) {
  struct rate_caller *empty = NULL;
  for (unsigned i = 0; i < RATE_CALLERS; i++) {
    struct rate_caller *caller = &rate->callers[i];
    if (caller->full_ns <= now_ns)
      empty = caller;
    else if (caller->domain == domain)
      return caller;
  }
  if (empty)
    *empty = (struct rate_caller){domain, now_ns};
  return empty;
}

bool rate_take(struct rate *rate, uint32_t domain, uint64_t now_ns) {
  if (!rate->each_ns)
    return true;
  struct rate_caller *caller = find(rate, domain, now_ns);
  if (!caller || caller->full_ns + rate->each_ns > now_ns + CLOCK_SECOND)
    return false;
  caller->full_ns += rate->each_ns;
  return true;
}
