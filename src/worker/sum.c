/*
 * sum: see sum.h; which of the two ways is decided once for each stream.
 */
#include "worker/sum.h"

#include <stdbool.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "worker/sum_wide.h"

struct sum {
  XXH3_state_t *state;
  bool wide;
};

struct sum *sum_create(void) {
  struct sum *sum = malloc(sizeof *sum);
  if (!sum)
    return NULL;
  sum->wide = sum_wide_works();
  sum->state = XXH3_createState();
  if (!sum->state) {
    free(sum);
    return NULL;
  }
  XXH3_64bits_reset(sum->state);
  return sum;
}

void sum_free(struct sum *sum) {
  if (sum)
    XXH3_freeState(sum->state);
  free(sum);
}

void sum_add(struct sum *sum, const void *bytes, size_t n) {
  if (sum->wide)
    sum_wide_add(sum->state, bytes, n);
  else
    XXH3_64bits_update(sum->state, bytes, n);
}

uint64_t sum_get(const struct sum *sum) { return XXH3_64bits_digest(sum->state); }
