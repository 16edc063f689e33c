/*
 * placement: which device a request goes to. Pure: candidates in, order and reasons out. The answer
 * names every candidate with its score or why it was rejected.
 */
#ifndef MEMORY_PLACEMENT_H
#define MEMORY_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#define PLACEMENT_MAX 32 /* devices of one host */

enum placement_strategy {
  PLACEMENT_SPREAD, /* most available bytes; tie: lowest utilisation, then id. The contract's "best
                       device" */
  PLACEMENT_BEST_FIT, /* least left over */
  PLACEMENT_PACK,     /* the fullest that fits */
};
enum placement_memory { PLACEMENT_ANY, PLACEMENT_RAM, PLACEMENT_VRAM };

struct placement_candidate {
  const char *id; /* borrowed */
  enum placement_memory memory;
  bool healthy;
  bool named;    /* the only one that the user asked for */
  bool strained; /* critical pressure keeps the request out */
  uint64_t available_bytes, limit_bytes;
  uint32_t utilization_hundredths;
};

struct placement_verdict {
  uint32_t index;       /* into the candidates */
  int64_t score;        /* larger is better, comparable within one answer only */
  const char *rejected; /* NULL: fits. Else "wrong memory type", "unhealthy", "not enough memory",
                           "over its limit", "not asked for", "pressure" */
};

struct placement_request {
  uint64_t size_bytes;
  enum placement_memory memory;
  enum placement_strategy strategy;
};

/* Fills verdicts[count] best first, rejected ones last. Returns how many fit. count <=
 * PLACEMENT_MAX. */
uint32_t placement_rank(const struct placement_request *request,
                        const struct placement_candidate *candidates, uint32_t count,
                        struct placement_verdict *verdicts);
/* "most available memory", ...: why the first was chosen. Static. */
const char *placement_reason(const struct placement_request *request, uint32_t fitting);

#endif
