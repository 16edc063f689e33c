/*
 * snapshot: copies blocks out, some at a time; what must not move is marked fixed. Blocks rise by
 * address whatever happens between two times, so no two of a segment ever overlap.
 *
 * A slab that is to be emptied is closed before it is looked at, and what was seen waits there: it
 * can be neither freed nor attached until it was moved, or stays after all. So nobody has to look
 * at a block's record again before the mover did its part. The first fixed block ends the look.
 *
 * A dry run closes nothing and holds nothing. There is room for each block twice then: a slab is
 * looked at for its places when something is to be put in, and again when nothing was and it is to
 * be emptied.
 */
#include "service/snapshot.h"

#include <stdlib.h>

#include "base/units.h"
#include "memory/slab.h"
#include "memory/span.h"
#include "service/record.h"

#define SNAPSHOT_BATCH 256 /* blocks per holding of the lock */

static void free_span(struct snapshot *snapshot) {
  LOCK_SCOPE(&snapshot->service->lock);
  span_free(snapshot->gone[--snapshot->gone_count].span);
}

void snapshot_free(struct snapshot *snapshot) {
  while (snapshot->gone_count)
    free_span(snapshot);
  free(snapshot->gone);
  free(snapshot->segments);
  free(snapshot->blocks);
  free(snapshot->segment_ids);
  free(snapshot->indices);
  free(snapshot->allocs);
  free(snapshot->left);
  *snapshot = (struct snapshot){0};
}

/* ---- blocks ---- */

/* What is known of a block's allocation, 0: it is still being made. */
static void add_facts(struct snapshot *snapshot, uint32_t at, uint32_t index) {
  const struct service *s = snapshot->service;
  const struct state_alloc *alloc = state_alloc(s, index);
  struct defrag_block *block = &snapshot->blocks[at];
  block->fixed = !index || !record_movable(s, index);
  snapshot->allocs[at] = index;
  if (!index)
    return;
  block->size = record_place(s, index).size;
  block->alignment = units_max(SLAB_GRANULE, UINT64_C(1) << state_record(s, alloc)->alignment_log2);
}

struct looking {
  struct record_walk walk;
  bool to_move, stopped;
};

/* False: it is fixed, and no other needs to be looked at. */
static bool see(struct snapshot *snapshot, const struct looking *looking, uint32_t at,
                uint32_t index) {
  if (looking->to_move)
    add_facts(snapshot, at, index);
  if (snapshot->dry)
    return true;
  if (snapshot->blocks[at].fixed)
    return false;
  state_alloc(snapshot->service, index)->moving = 1;
  return true;
}

/* Some blocks under the lock. False: there are no more to look at, or no room. */
static bool see_some(struct snapshot *snapshot, struct looking *looking) {
  struct service *s = snapshot->service;
  LOCK_SCOPE(&s->lock);
  struct span_block range;
  uint32_t indices[SNAPSHOT_BATCH], count = 0, seen = 0, first = snapshot->block_count;
  uint32_t most = (uint32_t)units_min(SNAPSHOT_BATCH, snapshot->block_space - first);
  if (!record_walk_resume(s, &looking->walk) || !state_segment(s, looking->walk.index)->span)
    return false;
  while (count < most && record_walk_next(s, &looking->walk, &range)) {
    snapshot->blocks[first + count] =
        (struct defrag_block){range.offset, range.size, SLAB_GRANULE, true};
    indices[count++] = range.user == UINT32_MAX ? 0 : range.user;
  }
  for (; seen < count; seen++) {
    if (looking->to_move)
      record_bring(s, indices, count, seen);
    if (!see(snapshot, looking, first + seen, indices[seen]))
      break;
  }
  snapshot->block_count += seen;
  looking->stopped = seen < count;
  return seen == SNAPSHOT_BATCH;
}

/* Nothing new goes in from now on. False: it is gone, or is being emptied already. */
static bool shut(struct snapshot *snapshot, uint32_t index) {
  struct service *s = snapshot->service;
  LOCK_SCOPE(&s->lock);
  uint32_t segment = idmap_find(&s->segment_ids, snapshot->segment_ids[index]);
  if (!segment || state_segment(s, segment)->closed)
    return false;
  snapshot->indices[index] = segment;
  return state_segment(s, segment)->closed = true;
}

void snapshot_open(struct snapshot *snapshot, uint32_t index) {
  struct service *s = snapshot->service;
  LOCK_SCOPE(&s->lock);
  uint32_t segment = idmap_find(&s->segment_ids, snapshot->segment_ids[index]);
  if (segment)
    state_segment(s, segment)->closed = false;
}

static void let_go(const struct snapshot *snapshot, uint32_t block) {
  struct service *s = snapshot->service;
  state_alloc(s, snapshot->allocs[block])->moving = 0;
  record_let_go(s, snapshot->allocs[block]);
}

static void let_go_some(struct snapshot *snapshot, uint32_t count) {
  LOCK_SCOPE(&snapshot->service->lock);
  while (count--)
    let_go(snapshot, --snapshot->block_count);
}

/* The slab that was looked at last. */
static void stay(void *arg, uint32_t index) {
  struct snapshot *snapshot = arg;
  uint32_t first = snapshot->segments[index].first_block;
  snapshot_open(snapshot, index);
  while (snapshot->block_count > first)
    let_go_some(snapshot, (uint32_t)units_min(SNAPSHOT_BATCH, snapshot->block_count - first));
}

/* One that does not fit any more is not looked at, for what is left out may be anywhere in it. */
static bool look(void *arg, uint32_t index, bool to_move) {
  struct snapshot *snapshot = arg;
  struct defrag_segment *segment = &snapshot->segments[index];
  struct looking looking = {.walk.segment = snapshot->segment_ids[index], .to_move = to_move};
  if (!snapshot->dry && !shut(snapshot, index))
    return false;
  segment->first_block = snapshot->block_count;
  while (see_some(snapshot, &looking))
    ;
  segment->blocks = snapshot->block_count - segment->first_block;
  bool all = !looking.stopped && snapshot->block_count < snapshot->block_space;
  if (!all && !snapshot->dry)
    stay(snapshot, index);
  return all;
}

/* ---- places ---- */

static void enter(void *arg) {
  struct snapshot *snapshot = arg;
  lock_take(&snapshot->service->lock);
  snapshot->near = UINT32_MAX; /* it may be gone since */
}

static void leave(void *arg) { lock_give(&((struct snapshot *)arg)->service->lock); }

/* Of a slab that may be gone: its index, or 0. Many blocks in a row go to the same. */
static uint32_t find(struct snapshot *snapshot, uint32_t index) {
  if (snapshot->near == index)
    return snapshot->indices[index];
  snapshot->near = index;
  return snapshot->indices[index] =
             idmap_find(&snapshot->service->segment_ids, snapshot->segment_ids[index]);
}

static enum status take(void *arg, uint32_t index, const struct span_request *request,
                        struct defrag_move *move) {
  struct snapshot *snapshot = arg;
  uint32_t segment = find(snapshot, index);
  struct space place;
  enum status status =
      segment ? space_take_in(snapshot->service, segment, request, &place) : STATUS_NOT_FOUND;
  if (status)
    return status;
  move->target_segment = index;
  move->target_offset = place.offset;
  move->node = place.node;
  return STATUS_OK;
}

struct space snapshot_place(const struct snapshot *snapshot, const struct defrag_move *move,
                            uint64_t size) {
  return (struct space){.segment = snapshot->indices[move->target_segment],
                        .node = move->node,
                        .offset = move->target_offset,
                        .size = size};
}

static void give(void *arg, const struct defrag_move *move) {
  struct snapshot *snapshot = arg;
  struct space place = snapshot_place(snapshot, move, snapshot->blocks[move->block].size);
  space_give(snapshot->service, &place, NULL, NULL);
}

void snapshot_forgo(struct snapshot *snapshot, const struct defrag_move *move) {
  give(snapshot, move);
  let_go(snapshot, move->block);
}

static const struct defrag_places places = {enter, leave, take, give, stay};

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
  snapshot->block_space += (snapshot->dry ? 2 : 1) * segment->blocks;
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
  snapshot->indices = calloc(most + 1, sizeof *snapshot->indices);
  snapshot->gone = calloc(most + 1, sizeof *snapshot->gone);
  if (!snapshot->segments || !snapshot->segment_ids || !snapshot->indices || !snapshot->gone)
    return false;
  add_segments(snapshot, most);
  snapshot->block_space += SNAPSHOT_BATCH; /* for what is made meanwhile */
  snapshot->blocks = malloc(snapshot->block_space * sizeof *snapshot->blocks);
  snapshot->allocs = malloc(snapshot->block_space * sizeof *snapshot->allocs);
  snapshot->left = calloc(snapshot->block_space, sizeof *snapshot->left);
  return snapshot->blocks && snapshot->allocs && snapshot->left;
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
