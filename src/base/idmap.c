/*
 * idmap: two sorted runs in one array, read as one: [first, packed) and [rest, count). Normally the
 * first run is empty. Once more than half of the array is gaps, packing begins: every append and
 * erase then looks at IDMAP_STRIDE entries from the front of the second run and moves the living
 * ones behind the first, until the second run is used up and the first becomes the whole. Packing
 * eats faster than appends feed it, which bounds the array: it starts at 2 * max + 2 entries at
 * most and ends within 1 / (IDMAP_STRIDE - 1) of that many appends, so IDMAP_SPACE times max is
 * enough.
 *
 * Gaps at both ends are dropped at once: a map that is used as a queue or as a stack has none to
 * walk over.
 *
 * The search interpolates, for ids are counted and mostly dense. Where a guess does not at least
 * halve the range, a middle is probed too, so that no pattern of gaps costs more than twice a
 * binary search.
 */
#include "base/idmap.h"

#include <assert.h>
#include <stddef.h>

#include "base/os_pages.h"

#define IDMAP_STRIDE 8 /* two cache lines */
#define IDMAP_SPACE 3
#define IDMAP_SLACK 16 /* for the rounding in small maps */
#define IDMAP_LINEAR 8 /* a range as short as this is read through */

static size_t space_bytes(uint32_t max) {
  return ((size_t)max * IDMAP_SPACE + IDMAP_SLACK) * sizeof(struct idmap_entry);
}

enum status idmap_init(struct idmap *map, uint32_t max) {
  assert(max <= UINT32_C(1) << 30);
  struct idmap_entry *entries = os_pages_reserve(space_bytes(max));
  if (!entries)
    return STATUS_INTERNAL_ERROR;
  *map = (struct idmap){.entries = entries, .max = max};
  return STATUS_OK;
}

void idmap_done(struct idmap *map) {
  os_pages_release(map->entries, space_bytes(map->max));
  *map = (struct idmap){0};
}

void idmap_expect(struct idmap *map, uint32_t count) {
  os_pages_expect(map->entries,
                  (size_t)(count < map->max ? count : map->max) * sizeof *map->entries);
}

struct range {
  uint32_t low, high; /* below low all ids are smaller, from high on none is */
};

static void probe(const struct idmap_entry *entries, struct range *range, uint32_t at,
                  uint64_t id) {
  if (entries[at].id < id)
    range->low = at + 1;
  else
    range->high = at;
}

/* The first entry of the run whose id is not smaller, its end if there is none. */
static uint32_t search(const struct idmap_entry *entries, struct range range, uint64_t id) {
  while (range.high - range.low > IDMAP_LINEAR) {
    uint32_t size = range.high - range.low;
    uint64_t lowest = entries[range.low].id, highest = entries[range.high - 1].id;
    if (id <= lowest)
      return range.low;
    if (id > highest)
      return range.high;
    double part = (double)(id - lowest) / (double)(highest - lowest);
    uint32_t guess = range.low + (uint32_t)(part * (size - 1));
    if (entries[guess].id == id)
      return guess;
    probe(entries, &range, guess, id);
    if (range.high - range.low > size / 2)
      probe(entries, &range, range.low + (range.high - range.low) / 2, id);
  }
  while (range.low < range.high && entries[range.low].id < id)
    range.low++;
  return range.low;
}

uint32_t idmap_search(const struct idmap_entry *entries, uint32_t count, uint64_t id) {
  return search(entries, (struct range){0, count}, id);
}

static uint32_t position(const struct idmap *map, uint64_t id) {
  if (map->rest == map->count || id < map->entries[map->rest].id) {
    uint32_t at = search(map->entries, (struct range){map->first, map->packed}, id);
    return at == map->packed ? map->rest : at;
  }
  return search(map->entries, (struct range){map->rest, map->count}, id);
}

static struct idmap_entry *locate(const struct idmap *map, uint64_t id) {
  uint32_t at = position(map, id);
  if (at == map->count)
    return NULL;
  struct idmap_entry *entry = &map->entries[at];
  return entry->id == id && entry->value ? entry : NULL;
}

static bool is_gap(const struct idmap *map, uint32_t at) { return !map->entries[at].value; }

static void drop_gaps_at_ends(struct idmap *map) {
  while (map->count > map->rest && is_gap(map, map->count - 1))
    map->count--;
  while (map->first < map->packed && is_gap(map, map->first))
    map->first++;
  if (map->first < map->packed)
    return;
  while (map->rest < map->count && is_gap(map, map->rest))
    map->rest++;
}

static void pack(struct idmap *map) {
  for (unsigned i = 0; map->packing && i < IDMAP_STRIDE && map->rest < map->count; i++) {
    struct idmap_entry entry = map->entries[map->rest++];
    if (entry.value)
      map->entries[map->packed++] = entry;
  }
  if (map->rest < map->count)
    return;
  map->count = map->packed;
  map->rest = map->first;
  map->first = map->packed = 0;
  map->packing = false;
}

bool idmap_append(struct idmap *map, uint64_t id, uint32_t value) {
  assert(value);
  if (map->live == map->max)
    return false;
  assert(map->rest == map->count || map->entries[map->count - 1].id < id);
  map->entries[map->count++] = (struct idmap_entry){.id = id, .value = value};
  map->live++;
  pack(map);
  return true;
}

uint32_t idmap_find(const struct idmap *map, uint64_t id) {
  const struct idmap_entry *entry = locate(map, id);
  return entry ? entry->value : 0;
}

bool idmap_erase(struct idmap *map, uint64_t id) {
  struct idmap_entry *entry = locate(map, id);
  if (!entry)
    return false;
  entry->value = 0;
  map->live--;
  drop_gaps_at_ends(map);
  if (map->count / 2 > map->live)
    map->packing = true;
  pack(map);
  return true;
}

/* The first live entry from this place on. */
static const struct idmap_entry *live_from(const struct idmap *map, uint32_t at) {
  for (;; at++) {
    if (at == map->packed && at < map->rest)
      at = map->rest;
    if (at >= map->count)
      return NULL;
    if (!is_gap(map, at))
      return &map->entries[at];
  }
}

const struct idmap_entry *idmap_next(const struct idmap *map, uint64_t after) {
  return after == UINT64_MAX ? NULL : live_from(map, position(map, after + 1));
}

const struct idmap_entry *idmap_after(const struct idmap *map, const struct idmap_entry *entry) {
  return live_from(map, (uint32_t)(entry - map->entries) + 1);
}

const struct idmap_entry *idmap_prev(const struct idmap *map, uint64_t before) {
  uint32_t at = position(map, before);
  for (;;) {
    if (at == map->rest)
      at = map->packed;
    if (at <= map->first)
      return NULL;
    if (!is_gap(map, --at))
      return &map->entries[at];
  }
}
