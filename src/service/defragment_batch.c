/*
 * defragment_batch: what a plan says is put into the mover's words without the lock, for all of it
 * waits (snapshot.h). To commit, the lock is held for some moves at a time, and what the next ones
 * need is brought to the core's cache meanwhile: records lie anywhere, and a miss takes as long as
 * the rest of a move.
 *
 * A victim goes back as a whole, at the end: place by place its span would merge what nobody will
 * ask for. And with it the way of the segment to the driver begins, in which the worker has a part,
 * and it is not to unmap memory beside the copies. A driver does the one or the other.
 */
#include "service/defragment_batch.h"

#include <stdlib.h>

#include "base/units.h"
#include "service/record.h"

#define LOCKED STATE_EVENTS /* moves per holding of the lock */

bool defragment_batch_run_init(struct defragment_batch_run *run, uint32_t batches) {
  const struct snapshot *snapshot = &run->snapshot;
  run->segments = malloc((size_t)batches * snapshot->segment_count * sizeof *run->segments);
  run->moves = malloc(snapshot->block_space * sizeof *run->moves);
  run->in_batch = calloc(snapshot->segment_count, sizeof *run->in_batch);
  return run->segments && run->moves && run->in_batch;
}

void defragment_batch_run_done(struct defragment_batch_run *run) {
  snapshot_free(&run->snapshot);
  free(run->moves);
  free(run->segments);
  free(run->in_batch);
  run->moves = NULL;
  run->segments = NULL;
  run->in_batch = NULL;
}

/* ---- reserve ---- */

void defragment_batch_begin(struct defragment_batch *batch, const struct defragment_batch_run *run,
                            uint32_t row, uint32_t first_move) {
  batch->segments = run->segments + (size_t)row * run->snapshot.segment_count;
  batch->moves = run->moves + first_move;
  batch->segment_count = batch->move_count = 0;
}

/* Of one of the plan's segments: its place among the batch's. */
static uint32_t index_in_batch(struct defragment_batch *batch, struct defragment_batch_run *run,
                               uint32_t segment) {
  uint64_t id = run->snapshot.segment_ids[segment];
  uint32_t *index = &run->in_batch[segment];
  if (*index < batch->segment_count && batch->segments[*index].id == id)
    return *index;
  LOCK_SCOPE(&run->service->lock);
  batch->segments[batch->segment_count] =
      record_mover_segment(run->service, run->snapshot.indices[segment]);
  return *index = batch->segment_count++;
}

static void reserve(struct defragment_batch *batch, struct defragment_batch_run *run,
                    const struct defrag_move *move) {
  const struct defrag_block *block = &run->snapshot.blocks[move->block];
  batch->moves[batch->move_count++] =
      (struct mover_move){.from = index_in_batch(batch, run, move->segment),
                          .to = index_in_batch(batch, run, move->target_segment),
                          .from_offset = block->offset,
                          .to_offset = move->target_offset,
                          .size = block->size};
}

void defragment_batch_reserve(struct defragment_batch *batch, struct defragment_batch_run *run,
                              const struct defrag_move *moves, uint32_t count) {
  if (!batch->move_count)
    batch->planned = moves;
  for (uint32_t i = 0; i < count; i++)
    reserve(batch, run, &moves[i]);
}

static void forgo_some(struct defragment_batch_run *run, const struct defrag_move *moves,
                       uint32_t count) {
  LOCK_SCOPE(&run->service->lock);
  for (uint32_t i = 0; i < count; i++)
    snapshot_forgo(&run->snapshot, &moves[i]);
}

void defragment_batch_forgo(struct defragment_batch_run *run, const struct defrag_move *moves,
                            uint32_t count) {
  for (uint32_t n; count; moves += n, count -= n) {
    n = (uint32_t)units_min(count, LOCKED);
    forgo_some(run, moves, n);
  }
}

/* ---- copy ---- */

void defragment_batch_submit(struct defragment_batch *batch, struct defragment_batch_run *run,
                             void (*done)(struct mover_task *task)) {
  batch->task = (struct mover_task){.action = MOVER_DEFRAGMENT,
                                    .segments = batch->segments,
                                    .segment_count = batch->segment_count,
                                    .moves = batch->moves,
                                    .move_count = batch->move_count,
                                    .verify = true,
                                    .done = done};
  job_submit(run->job, &batch->task);
}

/* ---- commit ---- */

/* Under the lock: the switch of one block. False: it stays where it is. */
static bool commit(struct defragment_batch *batch, struct defragment_batch_run *run, uint32_t i,
                   uint32_t index) {
  struct service *s = run->service;
  const struct defrag_move *move = &batch->planned[i];
  struct space to = snapshot_place(&run->snapshot, move, batch->moves[i].size), old;
  bool moved = batch->moves[i].ok && !record_switch(s, index, &to, &old);
  state_alloc(s, index)->moving = 0;
  if (!moved) {
    space_give(s, &to, NULL, NULL);
    return false;
  }
  run->snapshot.left[move->block] = old.node;
  run->row->moved_bytes += old.size;
  run->row->allocations_moved++;
  return true;
}

/* Some of the batch's, whose allocations these are. */
static void commit_some(struct defragment_batch *batch, struct defragment_batch_run *run,
                        const uint32_t *indices, uint32_t from, uint32_t count) {
  struct service *s = run->service;
  uint32_t moved[LOCKED], moved_count = 0;
  LOCK_SCOPE(&s->lock);
  for (uint32_t i = from; i < from + count; i++) {
    record_bring(s, indices, batch->move_count, i);
    if (commit(batch, run, i, indices[i]))
      moved[moved_count++] = indices[i];
  }
  state_alloc_events(s, moved, moved_count, EVENTS_ALLOCATION_MOVED, job_correlation(run->job));
  for (uint32_t i = from; i < from + count; i++)
    record_let_go(s, indices[i]);
}

void defragment_batch_commit(struct defragment_batch *batch, struct defragment_batch_run *run) {
  uint32_t indices[DEFRAGMENT_BATCH_MOVES];
  for (uint32_t i = 0; i < batch->move_count; i++)
    indices[i] = run->snapshot.allocs[batch->planned[i].block];
  for (uint32_t n, from = 0; from < batch->move_count; from += n) {
    n = (uint32_t)units_min(LOCKED, batch->move_count - from);
    commit_some(batch, run, indices, from, n);
  }
}

/* ---- give ---- */

/* Under the lock: a segment went back, of so many bytes. */
static void count_released(struct defragment_batch_run *run, uint64_t size) {
  run->releasing++;
  run->row->segments_released++;
  run->row->released_bytes += size;
}

/* How many blocks left a victim. */
static uint32_t count_left(const struct snapshot *snapshot, uint32_t victim) {
  const struct defrag_segment *segment = &snapshot->segments[victim];
  uint32_t count = 0;
  for (uint32_t i = 0; i < segment->blocks; i++)
    count += snapshot->left[segment->first_block + i] != 0;
  return count;
}

/* False: nothing left it, or something is still in it. */
static bool give_whole(struct defragment_batch_run *run, uint32_t victim) {
  struct service *s = run->service;
  uint32_t index = run->snapshot.indices[victim], left = count_left(&run->snapshot, victim);
  LOCK_SCOPE(&s->lock);
  struct state_segment *segment = state_segment(s, index);
  if (!left || segment->blocks != left)
    return false;
  count_released(run, segment->size);
  run->snapshot.gone[run->snapshot.gone_count++].span =
      space_give_slab(s, index, run->released, run->arg);
  return true;
}

/* What some of its blocks left behind in a victim that is not empty. */
static void give_some(struct defragment_batch_run *run, uint32_t victim, uint32_t from,
                      uint32_t count) {
  const struct snapshot *snapshot = &run->snapshot;
  struct service *s = run->service;
  uint32_t index = snapshot->indices[victim];
  uint64_t size = snapshot->segments[victim].size;
  LOCK_SCOPE(&s->lock);
  for (uint32_t i = from; i < from + count; i++) {
    const struct space left = {index, snapshot->left[i], snapshot->blocks[i].offset,
                               snapshot->blocks[i].size};
    if (left.node && space_give(s, &left, run->released, run->arg))
      count_released(run, size);
  }
}

bool defragment_batch_give(struct defragment_batch_run *run, uint32_t victim) {
  const struct defrag_segment *segment = &run->snapshot.segments[victim];
  uint32_t i = segment->first_block, end = i + segment->blocks;
  if (give_whole(run, victim))
    return true;
  for (uint32_t n; i < end; i += n) {
    n = (uint32_t)units_min(LOCKED, end - i);
    give_some(run, victim, i, n);
  }
  return false;
}
