/*
 * placement: every candidate gets a reason why not, or a score; then one sort. A score is what the
 * strategy looks at, turned so that more is better; equal scores go by utilisation, then by id.
 */
#include "memory/placement.h"

#include <stdlib.h>
#include <string.h>

/* A verdict with what the sort needs to see. */
struct ranked {
  struct placement_verdict verdict;
  const struct placement_candidate *candidate;
};

static const char *rejected(const struct placement_request *request,
                            const struct placement_candidate *candidate) {
  if (!candidate->named)
    return "not asked for";
  if (request->memory != PLACEMENT_ANY && request->memory != candidate->memory)
    return "wrong memory type";
  if (!candidate->healthy)
    return "unhealthy";
  if (request->size_bytes > candidate->limit_bytes)
    return "over its limit";
  if (candidate->strained)
    return "pressure";
  return request->size_bytes > candidate->available_bytes ? "not enough memory" : NULL;
}

/* Of bytes, which are at most 2^62: it fits. */
static int64_t score(const struct placement_request *request,
                     const struct placement_candidate *candidate) {
  if (request->strategy == PLACEMENT_SPREAD)
    return (int64_t)candidate->available_bytes;
  if (request->strategy == PLACEMENT_BEST_FIT)
    return -(int64_t)(candidate->available_bytes - request->size_bytes);
  return candidate->utilization_hundredths;
}

/* host:2 before host:10, d3d12:2 before d3d12:10: runs of digits are compared as numbers. */
static int by_id(const char *a, const char *b) {
  static const char digits[] = "0123456789";
  while (*a && *b) {
    size_t n = strspn(a, digits), m = strspn(b, digits);
    if (!n || !m) {
      if (*a != *b)
        break;
      a++, b++;
      continue;
    }
    unsigned long long x = strtoull(a, NULL, 10), y = strtoull(b, NULL, 10);
    if (x != y)
      return x < y ? -1 : 1;
    a += n, b += m;
  }
  return (unsigned char)*a - (unsigned char)*b;
}

static int best_first(const void *left, const void *right) {
  const struct ranked *a = left, *b = right;
  if (!a->verdict.rejected != !b->verdict.rejected)
    return a->verdict.rejected ? 1 : -1;
  if (a->verdict.score != b->verdict.score)
    return a->verdict.score > b->verdict.score ? -1 : 1;
  uint32_t x = a->candidate->utilization_hundredths, y = b->candidate->utilization_hundredths;
  return x != y ? (x < y ? -1 : 1) : by_id(a->candidate->id, b->candidate->id);
}

uint32_t placement_rank(const struct placement_request *request,
                        const struct placement_candidate *candidates, uint32_t count,
                        struct placement_verdict *verdicts) {
  struct ranked ranked[PLACEMENT_MAX];
  uint32_t fitting = 0;
  for (uint32_t i = 0; i < count; i++) {
    const char *why = rejected(request, &candidates[i]);
    int64_t points = why ? 0 : score(request, &candidates[i]);
    ranked[i] = (struct ranked){{i, points, why}, &candidates[i]};
    fitting += !why;
  }
  if (count > 1)
    qsort(ranked, count, sizeof *ranked, best_first);
  for (uint32_t i = 0; i < count; i++)
    verdicts[i] = ranked[i].verdict;
  return fitting;
}

const char *placement_reason(const struct placement_request *request, uint32_t fitting) {
  static const char *const reasons[] = {"most available memory", "least memory left over",
                                        "the fullest that fits"};
  return fitting == 0   ? "nothing fits"
         : fitting == 1 ? "the only one that fits"
                        : reasons[request->strategy];
}
