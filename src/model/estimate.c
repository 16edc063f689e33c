/*
 * estimate: the segments times the correction. A ratio and not a difference is learned, because it
 * still holds when the same model comes as other files.
 */
#include "model/estimate.h"

#include "base/units.h"

#define ESTIMATE_LARGEST (UINT64_C(1) << 62) /* no device has more */
/* The weight of the newest load: after five of another size 83 % is learned, and one outlier moves
 * the estimate by less than a third of itself. */
#define ESTIMATE_NEWEST 0.3

/* Also of what an earlier daemon wrote, so of anything. */
static double bounded(double correction) {
  if (!(correction > ESTIMATE_CORRECTION_MIN))
    return ESTIMATE_CORRECTION_MIN;
  return correction < ESTIMATE_CORRECTION_MAX ? correction : ESTIMATE_CORRECTION_MAX;
}

struct estimate estimate_make(uint64_t weights_bytes, uint64_t known_bytes,
                              const struct estimate_learned *learned) {
  bool measured = learned && learned->loads;
  double correction = measured ? bounded(learned->correction) : 1;
  uint64_t total = known_bytes;
  if (correction > 1)
    total = (uint64_t)((double)units_min(known_bytes, ESTIMATE_LARGEST / 4) * correction);
  total = units_max(total, known_bytes);
  return (struct estimate){.total_bytes = total,
                           .weights_bytes = weights_bytes,
                           .overhead_bytes = units_minus(total, weights_bytes),
                           .correction = (uint32_t)(correction * 100 + 0.5),
                           .measured = measured};
}

void estimate_learn(struct estimate_learned *learned, uint64_t known_bytes,
                    uint64_t measured_bytes) {
  if (!known_bytes || !measured_bytes)
    return;
  double ratio = bounded((double)measured_bytes / (double)known_bytes);
  if (learned->loads)
    ratio = bounded(learned->correction + ESTIMATE_NEWEST * (ratio - learned->correction));
  learned->correction = ratio;
  learned->loads += learned->loads < UINT32_MAX;
}
