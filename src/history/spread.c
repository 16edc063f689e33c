/*
 * spread: values below 32 have a bucket each; above, a bucket is found from the position of the
 * highest bit and the five bits behind it.
 */
#include "history/spread.h"

#include <string.h>

#include "base/units.h"

#define SPREAD_BITS 5
#define SPREAD_PAIR 4 /* bytes */
#define SPREAD_PARTS (1U << SPREAD_BITS)

static unsigned bucket_of(uint64_t value) {
  if (value < SPREAD_PARTS)
    return (unsigned)value;
  unsigned top = 63 - (unsigned)__builtin_clzll(value);
  unsigned part = (unsigned)(value >> (top - SPREAD_BITS)) & (SPREAD_PARTS - 1);
  return (top - SPREAD_BITS + 1) * SPREAD_PARTS + part;
}

static uint64_t middle_of(unsigned bucket) {
  if (bucket < SPREAD_PARTS)
    return bucket;
  unsigned shift = bucket / SPREAD_PARTS - 1;
  uint64_t start = (uint64_t)(SPREAD_PARTS + bucket % SPREAD_PARTS) << shift;
  return start + ((UINT64_C(1) << shift) >> 1);
}

void spread_add(struct spread *spread, uint64_t value, uint32_t count) {
  spread->counts[bucket_of(value)] += count;
}

size_t spread_pack(const struct spread *spread, void *out) {
  uint8_t *to = out;
  size_t size = 0;
  for (unsigned i = 0; i < SPREAD_BUCKETS && size + SPREAD_PAIR <= SPREAD_PACKED; i++) {
    if (!spread->counts[i])
      continue;
    uint16_t pair[2] = {(uint16_t)i, (uint16_t)units_min(spread->counts[i], UINT16_MAX)};
    memcpy(to + size, pair, sizeof pair);
    size += sizeof pair;
  }
  return size;
}

void spread_unpack(struct spread *spread, const void *bytes, size_t size) {
  const uint8_t *from = bytes;
  for (size_t at = 0; at + SPREAD_PAIR <= size; at += SPREAD_PAIR) {
    uint16_t pair[2];
    memcpy(pair, from + at, sizeof pair);
    if (pair[0] < SPREAD_BUCKETS)
      spread->counts[pair[0]] += pair[1];
  }
}

uint64_t spread_percentile(const struct spread *spread, unsigned hundredth) {
  uint64_t total = 0, seen = 0;
  for (unsigned i = 0; i < SPREAD_BUCKETS; i++)
    total += spread->counts[i];
  if (!total)
    return 0;
  uint64_t wanted = (total * hundredth + 99) / 100; /* the nearest rank, from 1 */
  unsigned i = 0;
  while ((seen += spread->counts[i]) < wanted)
    i++;
  return middle_of(i);
}
