/*
 * order: many small keys sorted in a time that nobody can change by what he puts into them. Pure.
 */
#ifndef MODEL_ORDER_H
#define MODEL_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct order_key {
  uint64_t first, second;
  uint32_t index; /* the caller's */
};

/* A name's key: its 128-bit hash. Two names of one key are the same name, or made by somebody who
 * looked for them: no honest file has two. */
struct order_key order_name(const char *name, size_t n, uint32_t index);

/* By first, then second, equal ones as they stood; n log n. Returns keys or spare, whichever holds
 * the sorted ones; the other is scratch. Each has n. */
struct order_key *order_sort(struct order_key *keys, struct order_key *spare, size_t n);

static inline bool order_is_before(const struct order_key *a, const struct order_key *b) {
  return a->first != b->first ? a->first < b->first : a->second < b->second;
}

/* The index of a sorted key that is equal to the one before it; UINT32_MAX: there is none. */
uint32_t order_find_twice(const struct order_key *keys, size_t n);

#endif
