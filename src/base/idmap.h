/*
 * idmap: from 64-bit ids that were counted up to 32-bit values, in order of creation. Because ids
 * only rise, the map is a sorted array: an append is a store, a lookup an interpolation search,
 * "the next after this id" comes for free and a page of a list needs no cursor state. Erased
 * entries stay as gaps until half are gone; then each append and erase moves a few entries
 * together, so that none takes long. Not thread-safe. Memory is reserved at once (see pool.h): no
 * system call in any call but init, done and expect.
 */
#ifndef BASE_IDMAP_H
#define BASE_IDMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct idmap_entry {
  uint64_t id;
  uint32_t value; /* 0: erased */
  uint32_t note;  /* whose it is that fills entries himself; a map's is 0 */
};

/* The entries lie in [first, packed) and [rest, count), both with gaps; what is between is being
 * packed. */
struct idmap {
  struct idmap_entry *entries;
  uint32_t first, packed, rest, count;
  bool packing; /* false: first and packed are 0 */
  uint32_t live;
  uint32_t max;
};

/* max at most 2^30. INTERNAL_ERROR: no address space. */
enum status idmap_init(struct idmap *map, uint32_t max);
/* Harmless on a zeroed struct. */
void idmap_done(struct idmap *map);
/* So many will be appended soon; a system call. */
void idmap_expect(struct idmap *map, uint32_t count);
/* id must be larger than every id before it, value not 0. False when `max` are live. */
bool idmap_append(struct idmap *map, uint64_t id, uint32_t value);
/* 0: not there. */
uint32_t idmap_find(const struct idmap *map, uint64_t id);
/* False: not there. */
bool idmap_erase(struct idmap *map, uint64_t id);
/* The first live entry with an id > after (or < before), NULL at the end. after = 0 starts, before
 * = UINT64_MAX too. Valid until the next append or erase. */
const struct idmap_entry *idmap_next(const struct idmap *map, uint64_t after);
/* The next live one behind an entry that idmap_next or this gave: no search. */
const struct idmap_entry *idmap_after(const struct idmap *map, const struct idmap_entry *entry);
const struct idmap_entry *idmap_prev(const struct idmap *map, uint64_t before);
/* In any array by rising ids: an entry with this id, else the first with a larger one, else count.
 */
uint32_t idmap_search(const struct idmap_entry *entries, uint32_t count, uint64_t id);

#endif
