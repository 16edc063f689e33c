/*
 * pressure: from figures to a level, with hysteresis, so that a value that trembles at a threshold
 * does not flap. Pure.
 */
#ifndef MEMORY_PRESSURE_H
#define MEMORY_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

enum pressure_level { PRESSURE_LOW, PRESSURE_MODERATE, PRESSURE_HIGH, PRESSURE_CRITICAL };

struct pressure_thresholds {
  uint32_t moderate, high,
      critical; /* percent in hundredths; defaults 7500 9000 9500; strictly rising, <= 10000 */
};
#define PRESSURE_DEFAULTS ((struct pressure_thresholds){7500, 9000, 9500})
#define PRESSURE_HYSTERESIS                                                                        \
  200 /* a level is left 2 points below the threshold that it was entered at */

struct pressure_figures {
  uint64_t used_bytes, reclaimable_cache_bytes, total_bytes;
  uint64_t committed_bytes, limit_bytes;
};

bool pressure_thresholds_valid(const struct pressure_thresholds *thresholds);
/* The larger of 100 x (used - reclaimable cache) / total and 100 x committed / limit, hundredths.
 */
uint32_t pressure_percent(const struct pressure_figures *figures);
/* The level for a percentage, given the level it was. */
enum pressure_level pressure_next(const struct pressure_thresholds *thresholds,
                                  enum pressure_level now, uint32_t percent);
/* Strain: pressure is critical and there is nothing that could be taken back. Then rules hold
 * (contract 8, Relief), and to leave it takes longer than to enter it. {0} at the start. */
#define PRESSURE_STUCK_NS UINT64_C(5000000000) /* so long without a way out, and it is entered */
#define PRESSURE_CALM_NS UINT64_C(10000000000) /* so long below high, and it is left */
struct pressure_strain {
  bool on;
  uint64_t stuck_at, calm_at; /* since when that is so, of the clock of the sights; 0: it is not */
};
struct pressure_sight {
  bool stuck;      /* critical, and nothing to be taken back */
  bool below_high; /* by its figures */
  uint64_t now_ns; /* never 0 */
};
void pressure_strain_next(struct pressure_strain *strain, const struct pressure_sight *sight);

/* Stalls that the kernel told of (PSI): since when some tasks, or all, waited for memory; 0: never.
 * Their level lasts as long as the kernel's own average of them does. */
#define PRESSURE_STALL_NS UINT64_C(10000000000)
struct pressure_stalls {
  uint64_t some_at, full_at;
};
/* The least that the level of host memory is. */
enum pressure_level pressure_stall_level(const struct pressure_stalls *stalls, uint64_t now_ns);

/* "low" "moderate" "high" "critical". Static. */
const char *pressure_name(enum pressure_level level);

#endif
