/*
 * order: a merge sort from the bottom up. The C library's own sort may be a quicksort, whose worst
 * case a hostile file could aim at.
 */
#include "model/order.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/units.h"

struct order_key order_name(const char *name, size_t n, uint32_t index) {
  XXH128_hash_t hash = XXH3_128bits(name, n);
  return (struct order_key){hash.high64, hash.low64, index};
}

/* from[0 … middle) and from[middle … end) are sorted; to gets both. */
static void merge(const struct order_key *from, struct order_key *to, size_t middle, size_t end) {
  size_t left = 0, right = middle;
  while (left < middle && right < end)
    *to++ = order_is_before(&from[right], &from[left]) ? from[right++] : from[left++];
  memcpy(to, from + left, (middle - left) * sizeof *from);
  memcpy(to + (middle - left), from + right, (end - right) * sizeof *from);
}

struct order_key *order_sort(struct order_key *keys, struct order_key *spare, size_t n) {
  for (size_t width = 1; width < n; width *= 2) {
    for (size_t i = 0; i < n; i += 2 * width)
      merge(keys + i, spare + i, units_min(width, n - i), units_min(2 * width, n - i));
    struct order_key *sorted = spare;
    spare = keys;
    keys = sorted;
  }
  return keys;
}

uint32_t order_find_twice(const struct order_key *keys, size_t n) {
  for (size_t i = 1; i < n; i++)
    if (!order_is_before(&keys[i - 1], &keys[i]))
      return keys[i].index;
  return UINT32_MAX;
}
