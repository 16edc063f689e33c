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
/* "low" "moderate" "high" "critical". Static. */
const char *pressure_name(enum pressure_level level);

#endif
