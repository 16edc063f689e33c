/*
 * snapshot: copies blocks out, some at a time; what must not move is marked fixed. Blocks rise by
 * address whatever happens between two times, so no two of a segment ever overlap.
 *
 * There is room for each block twice: a slab is looked at for its places when something is to be
 * put in, and again when nothing was and it is to be emptied.
 */
#include "service/snapshot.h"

#include <stdlib.h>

#include "base/units.h"
#include "memory/slab.h"
#include "memory/span.h"
#include "service/record.h"

#define SNAPSHOT_BATCH 256 /* blocks per holding of the lock */

void snapshot_free(struct snapshot *snapshot) {
  free(snapshot->segments);
  free(snapshot->blocks);
  free(snapshot->segment_ids);
  free(snapshot->block_ids);
  *snapshot = (struct snapshot){0};
}

/* ---- blocks ---- */

/* What is known of a block's allocation, 0: it is still being made. */
static void add_facts(struct snapshot *snapshot, uint32_t at, uint32_t index) {
  const struct service *s = snapshot->service;
  struct defrag_block *block = &snapshot->blocks[at];
  const struct state_alloc *alloc = state_alloc(s, index);
  block->fixed = !index || !record_movable(s, index);
  snapshot->block_ids[at] = index ? alloc->id : 0;
  if (!index)
    return;
  block->size = record_place(s, index).size;
  block->alignment = units_max(SLAB_GRANULE, UINT64_C(1) << state_record(s, alloc)->alignment_log2);
}

/* Some blocks under the lock. False: there are no more, or no room. */
static bool add_some(struct snapshot *snapshot, struct record_walk *walk, bool to_move) {
  struct service *s = snapshot->service;
  LOCK_SCOPE(&s->lock);
  struct span_block range;
  uint32_t indices[SNAPSHOT_BATCH], count = 0, first = snapshot->block_count;
  uint32_t most = (uint32_t)units_min(SNAPSHOT_BATCH, snapshot->block_space - first);
  if (!record_walk_resume(s, walk) || !state_segment(s, walk->index)->span)
    return false;
  while (count < most && record_walk_next(s, walk, &range)) {
    snapshot->blocks[first + count] =
        (struct defrag_block){range.offset, range.size, SLAB_GRANULE, true};
    indices[count++] = range.user == UINT32_MAX ? 0 : range.user;
  }
  if (to_move)
    record_bring(s, indices, count);
  for (uint32_t i = 0; to_move && i < count; i++)
    add_facts(snapshot, first + i, indices[i]);
  snapshot->block_count += count;
  return count == SNAPSHOT_BATCH;
}

/* One that does not fit any more is not looked at, for what is left out may be anywhere in it. */
static bool look(void *arg, uint32_t index, bool to_move) {
  struct snapshot *snapshot = arg;
  struct defrag_segment *segment = &snapshot->segments[index];
  struct record_walk walk = {.segment = snapshot->segment_ids[index]};
  segment->first_block = snapshot->block_count;
  while (add_some(snapshot, &walk, to_move))
    ;
  segment->blocks = snapshot->block_count - segment->first_block;
  return snapshot->block_count < snapshot->block_space;
}

/* ---- places ---- */

static void enter(void *arg) { lock_take(&((struct snapshot *)arg)->service->lock); }
static void leave(void *arg) { lock_give(&((struct snapshot *)arg)->service->lock); }

static enum status take(void *arg, uint32_t index, const struct span_request *request,
                        struct defrag_move *move) {
  struct snapshot *snapshot = arg;
  struct service *s = snapshot->service;
  uint32_t segment = idmap_find(&s->segment_ids, snapshot->segment_ids[index]);
  struct space place;
  enum status status = segment ? space_take_in(s, segment, request, &place) : STATUS_NOT_FOUND;
  if (status)
    return status;
  move->target_segment = index;
  move->target_offset = place.offset;
  move->node = place.node;
  return STATUS_OK;
}

struct space snapshot_place(const struct snapshot *snapshot, const struct defrag_move *move) {
  uint64_t id = snapshot->segment_ids[move->target_segment];
  return (struct space){.segment = idmap_find(&snapshot->service->segment_ids, id),
                        .node = move->node,
                        .offset = move->target_offset,
                        .size = snapshot->blocks[move->block].size};
}

void snapshot_forgo(const struct snapshot *snapshot, const struct defrag_move *move) {
  struct space place = snapshot_place(snapshot, move);
  space_give(snapshot->service, &place, NULL, NULL);
}

static void give(void *arg, const struct defrag_move *move) { snapshot_forgo(arg, move); }

static const struct defrag_places places = {enter, leave, take, give};

/* ---- slabs ---- */

static struct defrag_segment sums_of(const struct state_segment *segment) {
  return (struct defrag_segment){.size = segment->size,
                                 .taken = span_used(segment->span),
                                 .bytes = segment->counted_bytes,
                                 .fixed = segment->pinned || segment->held};
}

static void add_segment(struct snapshot *snapshot, const struct state_segment *segment) {
  snapshot->segment_ids[snapshot->segment_count] = segment->id;
  snapshot->segments[snapshot->segment_count++] = sums_of(segment);
  snapshot->block_space += 2 * segment->blocks;
}

/* The owner's on the device that have a block in them. */
static void add_segments(struct snapshot *snapshot, uint32_t most) {
  struct service *s = snapshot->service;
  LOCK_SCOPE(&s->lock);
  uint32_t index = idmap_find(&s->owner_ids, snapshot->owner);
  uint32_t i = index ? state_owner(s, index)->slabs[snapshot->device] : 0;
  for (; i && snapshot->segment_count < most; i = state_segment(s, i)->slab_next)
    if (state_segment(s, i)->span && state_segment(s, i)->blocks)
      add_segment(snapshot, state_segment(s, i));
}

static uint32_t count_segments(struct service *s, uint32_t device) {
  LOCK_SCOPE(&s->lock);
  return s->devices[device].segments;
}

/* False: no memory. */
static bool make(struct snapshot *snapshot) {
  uint32_t most = count_segments(snapshot->service, snapshot->device);
  snapshot->segments = calloc(most + 1, sizeof *snapshot->segments);
  snapshot->segment_ids = calloc(most + 1, sizeof *snapshot->segment_ids);
  if (!snapshot->segments || !snapshot->segment_ids)
    return false;
  add_segments(snapshot, most);
  snapshot->block_space += SNAPSHOT_BATCH; /* for what is made meanwhile */
  snapshot->blocks = calloc(snapshot->block_space, sizeof *snapshot->blocks);
  snapshot->block_ids = calloc(snapshot->block_space, sizeof *snapshot->block_ids);
  return snapshot->blocks && snapshot->block_ids;
}

enum status snapshot_plan(struct snapshot *snapshot, enum defrag_strategy strategy,
                          struct defrag_planner **planner) {
  if (!make(snapshot))
    return STATUS_INTERNAL_ERROR;
  snapshot->view = (struct defrag_snapshot){.segments = snapshot->segments,
                                            .segment_count = snapshot->segment_count,
                                            .blocks = snapshot->blocks,
                                            .block_count = snapshot->block_space,
                                            .granule = SLAB_GRANULE,
                                            .look = look,
                                            .places = snapshot->dry ? NULL : &places,
                                            .arg = snapshot};
  return defrag_planner_create(&snapshot->view, &(struct defrag_params){.strategy = strategy},
                               planner);
}
