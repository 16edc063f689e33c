/*
 * leak: somebody whose bytes only rise. A series of the last minutes, looked at every few seconds;
 * whether it rises is memory/forecast's to say, so that saw teeth, steps and noise are no leak.
 * Pure: the caller keeps the series, zeroed at first, and says what time it is.
 */
#ifndef MEMORY_LEAK_H
#define MEMORY_LEAK_H

#include <stdbool.h>
#include <stdint.h>

#define LEAK_EVERY_SECONDS 5
#define LEAK_POINTS 60              /* five minutes, which the forecast looks at */
#define LEAK_LEAST_SECONDS 60.0     /* of a rise: who starts takes what he needs within it */
#define LEAK_LEAST_BYTES 16777216.0 /* that it rose by: 16 MiB */

struct leak_series {
  double seconds[LEAK_POINTS], bytes[LEAK_POINTS]; /* a ring */
  uint64_t count;                                  /* of points that there ever were */
  double since; /* when the rise that is under way began, in the caller's seconds */
  bool rising;
  double bytes_per_second; /* while it rises */
};

/* One more point, later than the one before; judges anew. Some 50 us. */
void leak_add(struct leak_series *series, double seconds, double bytes);

#endif
