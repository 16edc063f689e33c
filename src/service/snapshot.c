/*
 * snapshot: copies blocks out segment by segment; what must not move is marked fixed.
 */
#include "service/snapshot.h"

#include <stdlib.h>

#include "base/units.h"
#include "memory/slab.h"
#include "service/record.h"

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

static bool room_for_block(struct snapshot *snapshot) {
  if (snapshot->blocks_count < snapshot->blocks_space)
    return true;
  uint32_t space = snapshot->blocks_space ? 2 * snapshot->blocks_space : 1024;
  if (!grow((void **)&snapshot->blocks, space, sizeof *snapshot->blocks) ||
      !grow((void **)&snapshot->block_ids, space, sizeof *snapshot->block_ids))
    return false;
  snapshot->blocks_space = space;
  return true;
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

static bool add_block(const struct service *s, struct snapshot *snapshot,
                      const struct span_block *range) {
  if (!room_for_block(snapshot))
    return false;
  bool known = range->user != UINT32_MAX; /* else its allocation is still being made */
  struct defrag_block *block = &snapshot->blocks[snapshot->blocks_count];
  *block = (struct defrag_block){.offset = range->offset,
                                 .size = range->size,
                                 .alignment = SLAB_GRANULE,
                                 .user = snapshot->blocks_count,
                                 .fixed = !known || !record_movable(s, range->user)};
  uint64_t id = 0;
  if (known) {
    const struct state_alloc *alloc = state_alloc(s, range->user);
    id = alloc->id;
    block->alignment =
        units_max(SLAB_GRANULE, UINT64_C(1) << state_record(s, alloc)->alignment_log2);
  }
  snapshot->block_ids[snapshot->blocks_count++] = id;
  return true;
}

static bool add_segment(const struct service *s, struct snapshot *snapshot,
                        const struct state_segment *segment) {
  if (!room_for_segment(snapshot))
    return false;
  uint32_t first = snapshot->blocks_count;
  struct span_block range;
  for (uint32_t node = 0; (node = span_next(segment->span, node, &range));)
    if (range.used && !add_block(s, snapshot, &range))
      return false;
  snapshot->segments[snapshot->segments_count] =
      (struct defrag_segment){.size = segment->size,
                              .user = snapshot->segments_count,
                              .first_block = first,
                              .blocks = snapshot->blocks_count - first};
  snapshot->segment_ids[snapshot->segments_count++] = segment->id;
  return true;
}

/* The owner's slab on the device with the next higher id; one per holding of the lock. */
static bool add_next(struct service *s, struct snapshot *snapshot, uint32_t device,
                     uint64_t owner_id) {
  LOCK_SCOPE(&s->lock);
  uint64_t after =
      snapshot->segments_count ? snapshot->segment_ids[snapshot->segments_count - 1] : 0;
  const struct idmap_entry *entry = idmap_next(&s->segment_ids, after);
  for (; entry; entry = idmap_next(&s->segment_ids, entry->id)) {
    const struct state_segment *segment = state_segment(s, entry->value);
    if (segment->device != device || !segment->span || !segment->blocks ||
        state_owner(s, segment->owner)->id != owner_id)
      continue;
    return add_segment(s, snapshot, segment);
  }
  return false;
}

void snapshot_make(struct service *s, uint32_t device, uint64_t owner, struct snapshot *out) {
  *out = (struct snapshot){0};
  while (add_next(s, out, device, owner))
    ;
}

enum status snapshot_plan(const struct snapshot *snapshot, enum defrag_strategy strategy,
                          struct defrag_plan *out) {
  struct defrag_snapshot view = {.segments = snapshot->segments,
                                 .segment_count = snapshot->segments_count,
                                 .blocks = snapshot->blocks,
                                 .block_count = snapshot->blocks_count,
                                 .granule = SLAB_GRANULE};
  struct defrag_params params = {.strategy = strategy};
  return defrag_plan_make(&view, &params, out);
}
