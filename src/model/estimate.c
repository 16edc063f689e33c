/*
 * estimate: Σ over the files of their weights, in whole granules, times the correction.
 *
 * A file's weights are what lies behind its header, padding included, for that is what a loader
 * reads in one piece. A ratio and not a difference is learned, because it still holds when the same
 * model comes as other files.
 */
#include "model/estimate.h"

#include "base/units.h"

#define ESTIMATE_LARGEST (UINT64_C(1) << 62)
/* The weight of the newest load: after five of another size 83 % is learned, and one outlier moves
 * the estimate by less than a third of itself. */
#define ESTIMATE_NEWEST 0.3

static double bounded(double correction) {
  if (!(correction > ESTIMATE_CORRECTION_MIN))
    return ESTIMATE_CORRECTION_MIN;
  return correction < ESTIMATE_CORRECTION_MAX ? correction : ESTIMATE_CORRECTION_MAX;
}

static bool known(const struct card *card, uint64_t granule, uint64_t *out) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < card->head->files; i++) {
    uint64_t bytes = units_minus(card->files[i].size, card->files[i].data_offset);
    if (bytes > ESTIMATE_LARGEST || !units_add(sum, units_up(bytes, granule), &sum) ||
        sum > ESTIMATE_LARGEST)
      return false;
  }
  *out = sum;
  return true;
}

enum status estimate_make(const struct card *card, uint64_t granule,
                          const struct estimate_learned *learned, struct estimate *out) {
  bool is_learned = learned && learned->loads;
  struct estimate estimate = {
      .weights_bytes = card->head->weight_bytes,
      .correction = is_learned ? bounded(learned->correction) : 1,
      .source = is_learned ? ESTIMATE_LEARNED : ESTIMATE_EXACT,
  };
  if (!known(card, granule, &estimate.known_bytes))
    return STATUS_ALLOCATION_TOO_LARGE;
  estimate.total_bytes = estimate.known_bytes;
  if (is_learned) {
    double total = (double)estimate.known_bytes * estimate.correction;
    if (total > (double)ESTIMATE_LARGEST)
      return STATUS_ALLOCATION_TOO_LARGE;
    estimate.total_bytes = units_up((uint64_t)total, granule);
  }
  estimate.overhead_bytes = units_minus(estimate.total_bytes, estimate.weights_bytes);
  *out = estimate;
  return STATUS_OK;
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

const char *estimate_source_name(enum estimate_source source) {
  return source == ESTIMATE_LEARNED ? "learned" : "exact";
}
