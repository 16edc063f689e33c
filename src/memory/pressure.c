/*
 * pressure: a level is entered at its threshold and left PRESSURE_HYSTERESIS below it, so a value
 * that trembles at a threshold makes one change, not many.
 */
#include "memory/pressure.h"

#include "base/units.h"

bool pressure_thresholds_valid(const struct pressure_thresholds *thresholds) {
  return thresholds->moderate && thresholds->moderate < thresholds->high &&
         thresholds->high < thresholds->critical && thresholds->critical <= 10000;
}

uint32_t pressure_percent(const struct pressure_figures *figures) {
  uint64_t used = units_minus(figures->used_bytes, figures->reclaimable_cache_bytes);
  uint32_t of_total = units_percent(used, figures->total_bytes);
  uint32_t of_limit = units_percent(figures->committed_bytes, figures->limit_bytes);
  return of_total > of_limit ? of_total : of_limit;
}

static enum pressure_level level_of(const struct pressure_thresholds *thresholds,
                                    uint32_t percent) {
  return percent >= thresholds->critical   ? PRESSURE_CRITICAL
         : percent >= thresholds->high     ? PRESSURE_HIGH
         : percent >= thresholds->moderate ? PRESSURE_MODERATE
                                           : PRESSURE_LOW;
}

enum pressure_level pressure_next(const struct pressure_thresholds *thresholds,
                                  enum pressure_level now, uint32_t percent) {
  enum pressure_level level = level_of(thresholds, percent);
  if (level >= now)
    return level;
  enum pressure_level held = level_of(thresholds, percent + PRESSURE_HYSTERESIS);
  return held < now ? held : now;
}

void pressure_strain_next(struct pressure_strain *strain, const struct pressure_sight *sight) {
  uint64_t now = sight->now_ns;
  strain->stuck_at = !sight->stuck ? 0 : strain->stuck_at ? strain->stuck_at : now;
  strain->calm_at = !sight->below_high ? 0 : strain->calm_at ? strain->calm_at : now;
  if (strain->calm_at && now - strain->calm_at >= PRESSURE_CALM_NS)
    strain->on = false;
  else if (strain->stuck_at && now - strain->stuck_at >= PRESSURE_STUCK_NS)
    strain->on = true;
}

enum pressure_level pressure_stall_level(const struct pressure_stalls *stalls, uint64_t now_ns) {
  if (stalls->full_at && now_ns - stalls->full_at < PRESSURE_STALL_NS)
    return PRESSURE_HIGH;
  return stalls->some_at && now_ns - stalls->some_at < PRESSURE_STALL_NS ? PRESSURE_MODERATE
                                                                         : PRESSURE_LOW;
}

const char *pressure_name(enum pressure_level level) {
  static const char *const names[] = {"low", "moderate", "high", "critical"};
  return names[level];
}
