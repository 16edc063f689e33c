/*
 * predict_score: once off, a kind stays off: without acts there is nothing that could speak for it.
 */
#include "service/predict_score.h"

#include "base/units.h"

void predict_score_judge(struct predict_score *score, bool needed) {
  uint32_t share;
  score->judged++;
  score->needed += needed;
  score->recent = (score->recent << 1 | needed) & ((UINT32_C(1) << PREDICT_SCORE_RECENT) - 1);
  if (predict_score_recent(score, &share) >= PREDICT_SCORE_LEAST && share < PREDICT_SCORE_SHARE)
    score->off = true;
}

uint32_t predict_score_recent(const struct predict_score *score, uint32_t *share) {
  uint32_t count = (uint32_t)units_min(score->judged, PREDICT_SCORE_RECENT);
  *share = units_percent((uint64_t)__builtin_popcount(score->recent), count);
  return count;
}
