/*
 * rate: how many requests a caller may send through a door. Each has a second's worth to spend at
 * once, which fills up again with time. One thread.
 */
#ifndef BASE_RATE_H
#define BASE_RATE_H

#include <stdbool.h>
#include <stdint.h>

#define RATE_MAX 10000000         /* requests a second: beyond is none */
#define RATE_CALLERS 128          /* that spend at one time; more are refused */
#define RATE_STRANGERS UINT32_MAX /* all who are not known, together; no domain */

struct rate {
  uint64_t each_ns; /* between two requests; 0: as many as come */
  struct rate_caller {
    uint32_t domain;
    uint64_t full_ns; /* when all that was spent will be there again */
  } callers[RATE_CALLERS];
};

/* per_second: 0 (as many as come) … RATE_MAX. */
void rate_init(struct rate *rate, unsigned per_second);
/* False: this one is too many. `now_ns` never goes back. */
bool rate_take(struct rate *rate, uint32_t domain, uint64_t now_ns);

#endif
