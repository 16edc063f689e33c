/*
 * snapshot: copies blocks out, a batch at a time; what must not move is marked fixed. Blocks rise
 * by address whatever happens between two batches, so no two of a segment ever overlap.
 */
#include "service/snapshot.h"

#include <stdlib.h>

#include "base/units.h"
#include "memory/slab.h"
#include "service/record.h"

#define SNAPSHOT_BATCH 1024 /* blocks per holding of the lock */

void snapshot_free(struct snapshot *snapshot) {
  free(snapshot->segments);
  free(snapshot->blocks);
  free(snapshot->segment_ids);
  free(snapshot->block_ids);
  *snapshot = (struct snapshot){0};
}

static bool grow(void **array, uint32_t space, size_t size) {
  void *larger = realloc(*array, space * size);
  if (larger)
    *array = larger;
  return larger != NULL;
}

static bool blocks_space(struct snapshot *snapshot, uint32_t space) {
  if (!grow((void **)&snapshot->blocks, space, sizeof *snapshot->blocks) ||
      !grow((void **)&snapshot->block_ids, space, sizeof *snapshot->block_ids))
    return false;
  snapshot->blocks_space = space;
  return true;
}

static bool room_for_blocks(struct snapshot *snapshot) {
  return snapshot->blocks_space - snapshot->blocks_count >= SNAPSHOT_BATCH ||
         blocks_space(snapshot, 2 * snapshot->blocks_space + SNAPSHOT_BATCH);
}

static bool room_for_segment(struct snapshot *snapshot) {
  if (snapshot->segments_count < snapshot->segments_space)
    return true;
  uint32_t space = snapshot->segments_space ? 2 * snapshot->segments_space : 64;
  if (!grow((void **)&snapshot->segments, space, sizeof *snapshot->segments) ||
      !grow((void **)&snapshot->segment_ids, space, sizeof *snapshot->segment_ids))
    return false;
  snapshot->segments_space = space;
  return true;
}

/* What is known of a block's allocation, 0: it is still being made. */
static void add_facts(const struct service *s, struct snapshot *snapshot, uint32_t at,
                      uint32_t index) {
  struct defrag_block *block = &snapshot->blocks[at];
  const struct state_alloc *alloc = state_alloc(s, index);
  block->alignment = SLAB_GRANULE;
  block->fixed = !index || !record_movable(s, index);
  snapshot->block_ids[at] = index ? alloc->id : 0;
  if (index)
    block->alignment =
        units_max(SLAB_GRANULE, UINT64_C(1) << state_record(s, alloc)->alignment_log2);
}

static bool is_candidate(const struct service *s, uint32_t index, uint64_t owner_id) {
  const struct state_segment *segment = index ? state_segment(s, index) : NULL;
  return segment && segment->span && segment->blocks &&
         state_owner(s, segment->owner)->id == owner_id;
}

/* Some blocks under the lock. False: the end of the segment. */
static bool add_some(struct service *s, struct snapshot *snapshot, struct record_walk *walk) {
  LOCK_SCOPE(&s->lock);
  struct span_block range;
  uint32_t indices[SNAPSHOT_BATCH], count = 0, first = snapshot->blocks_count;
  if (!record_walk_resume(s, walk) || !state_segment(s, walk->index)->span)
    return false;
  while (count < SNAPSHOT_BATCH && record_walk_next(s, walk, &range)) {
    uint32_t at = first + count;
    snapshot->blocks[at] =
        (struct defrag_block){.offset = range.offset, .size = range.size, .user = at};
    indices[count++] = range.user == UINT32_MAX ? 0 : range.user;
  }
  record_bring(s, indices, count);
  for (uint32_t i = 0; i < count; i++)
    add_facts(s, snapshot, first + i, indices[i]);
  snapshot->blocks_count += count;
  return count == SNAPSHOT_BATCH;
}

static bool add_segment(struct service *s, struct snapshot *snapshot, uint64_t id,
                        uint64_t owner_id) {
  if (!room_for_segment(snapshot))
    return false;
  lock_take(&s->lock);
  uint32_t index = idmap_find(&s->segment_ids, id);
  bool candidate = is_candidate(s, index, owner_id);
  uint64_t size = candidate ? state_segment(s, index)->size : 0;
  lock_give(&s->lock);
  if (!candidate)
    return true;
  uint32_t first = snapshot->blocks_count;
  struct record_walk walk = {.segment = id};
  while (room_for_blocks(snapshot) && add_some(s, snapshot, &walk))
    ;
  snapshot->segments[snapshot->segments_count] =
      (struct defrag_segment){.size = size,
                              .user = snapshot->segments_count,
                              .first_block = first,
                              .blocks = snapshot->blocks_count - first};
  snapshot->segment_ids[snapshot->segments_count++] = id;
  return true;
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

struct slabs {
  uint64_t *ids; /* malloced */
  uint32_t count, blocks;
};

/* The owner's on the device. */
static struct slabs slabs_of(struct service *s, uint32_t device, uint64_t owner) {
  LOCK_SCOPE(&s->lock);
  uint32_t index = idmap_find(&s->owner_ids, owner);
  uint32_t first = index ? state_owner(s, index)->slabs[device] : 0;
  struct slabs slabs = {.ids =
                            first ? calloc(s->devices[device].segments, sizeof *slabs.ids) : NULL};
  for (uint32_t i = first; slabs.ids && i; i = state_segment(s, i)->slab_next) {
    slabs.ids[slabs.count++] = state_segment(s, i)->id;
    slabs.blocks += state_segment(s, i)->blocks;
  }
  return slabs;
}

void snapshot_make(struct service *s, uint32_t device, uint64_t owner, struct snapshot *out) {
  struct slabs slabs = slabs_of(s, device, owner);
  *out = (struct snapshot){0};
  if (slabs.count)
    qsort(slabs.ids, slabs.count, sizeof *slabs.ids, by_value);
  if (slabs.count && !blocks_space(out, slabs.blocks + SNAPSHOT_BATCH))
    slabs.count = 0;
  for (uint32_t i = 0; i < slabs.count && add_segment(s, out, slabs.ids[i], owner); i++)
    ;
  free(slabs.ids);
}

enum status snapshot_planner(struct snapshot *snapshot, enum defrag_strategy strategy,
                             struct defrag_planner **out) {
  snapshot->view = (struct defrag_snapshot){.segments = snapshot->segments,
                                            .segment_count = snapshot->segments_count,
                                            .blocks = snapshot->blocks,
                                            .block_count = snapshot->blocks_count,
                                            .granule = SLAB_GRANULE};
  return defrag_planner_create(&snapshot->view, &(struct defrag_params){.strategy = strategy}, out);
}
