/*
 * gain: owner by owner, for blocks move between slabs of one owner only.
 */
#include "service/gain.h"

#include <stdlib.h>

#define GAIN_LOCKED 64 /* owners looked at per holding of the lock */

struct looking {
  struct service *service;
  uint32_t device, count;
  uint64_t owner;
  struct slack_slab *slabs;
};

/* Under the lock. */
static uint32_t copy(const struct looking *looking, const struct state_owner *owner) {
  const struct service *s = looking->service;
  uint32_t count = 0;
  for (uint32_t i = owner->slabs[looking->device]; i; i = state_segment(s, i)->slab_next) {
    const struct state_segment *segment = state_segment(s, i);
    if (segment->span && segment->blocks && !segment->closed)
      looking->slabs[count++] = (struct slack_slab){.size = segment->size,
                                                    .used = span_used(segment->span),
                                                    .allocated = segment->allocated,
                                                    .blocks = segment->blocks,
                                                    .holes = span_free_ranges(segment->span),
                                                    .fixed = segment->held || segment->pinned};
  }
  return count;
}

/* Slabs of the next owner who has two and more; false: there is no further one. */
static bool next(struct looking *looking) {
  struct service *s = looking->service;
  LOCK_SCOPE(&s->lock);
  looking->count = 0;
  for (unsigned i = 0; i < GAIN_LOCKED && looking->count < 2; i++) {
    const struct idmap_entry *entry = idmap_next(&s->owner_ids, looking->owner);
    if (!entry)
      return false;
    looking->owner = entry->id;
    looking->count = copy(looking, state_owner(s, entry->value));
  }
  return true;
}

struct slack gain_look(struct service *s, uint32_t device) {
  struct slack all = {0};
  struct looking looking = {
      .service = s, .device = device, .slabs = malloc(STATE_SEGMENTS * sizeof *looking.slabs)};
  while (looking.slabs && next(&looking)) {
    struct slack one = slack_of(looking.slabs, looking.count);
    all.bytes += one.bytes;
    all.slabs += one.slabs;
  }
  free(looking.slabs);
  return all;
}
