/*
 * segment_set: binary search and memmove; ids mostly arrive in rising order, so an addition mostly
 * moves nothing.
 */
#include "daemon/segment_set.h"

#include <stdlib.h>
#include <string.h>

/* Where id is, or would be. */
static size_t position(const struct segment_set *set, uint64_t id) {
  size_t low = 0, high = set->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (set->ids[middle] < id)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

bool segment_set_has(const struct segment_set *set, uint64_t id) {
  size_t at = position(set, id);
  return at < set->count && set->ids[at] == id;
}

static bool make_room(struct segment_set *set) {
  if (set->count < set->space)
    return true;
  size_t space = set->space ? 2 * set->space : 64;
  uint64_t *ids = realloc(set->ids, space * sizeof *ids);
  if (!ids)
    return false;
  set->ids = ids;
  set->space = space;
  return true;
}

bool segment_set_add(struct segment_set *set, uint64_t id) {
  if (segment_set_has(set, id))
    return true;
  if (!make_room(set))
    return false;
  size_t at = position(set, id);
  memmove(&set->ids[at + 1], &set->ids[at], (set->count - at) * sizeof *set->ids);
  set->ids[at] = id;
  set->count++;
  return true;
}

void segment_set_remove(struct segment_set *set, uint64_t id) {
  size_t at = position(set, id);
  if (at == set->count || set->ids[at] != id)
    return;
  memmove(&set->ids[at], &set->ids[at + 1], (set->count - at - 1) * sizeof *set->ids);
  set->count--;
}

void segment_set_clear(struct segment_set *set) {
  free(set->ids);
  *set = (struct segment_set){0};
}
