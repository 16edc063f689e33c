/*
 * defragment_batch: the lock is held for some moves at a time, and what each of them needs is
 * brought to the core's cache for all of these at once: records lie anywhere, and a miss takes as
 * long as the rest of a move.
 *
 * Places go back in a step of their own, and the last of a segment at the end: with it the way of
 * the segment to the driver begins, in which the worker has a part, and it is not to unmap memory
 * beside the copies. A driver does the one or the other.
 */
#include "service/defragment_batch.h"

#include <stdlib.h>

#include "base/units.h"
#include "service/record.h"

#define LOCKED STATE_EVENTS /* moves per holding of the lock */

struct defragment_batch_reservation {
  uint32_t alloc;     /* its index: what is moving cannot be freed */
  struct space place; /* where it is to go; when that is over, the one of both that is to go back */
};

bool defragment_batch_init(struct defragment_batch *batch) {
  batch->moves = calloc(DEFRAGMENT_BATCH_MOVES, sizeof *batch->moves);
  batch->reservations = calloc(DEFRAGMENT_BATCH_MOVES, sizeof *batch->reservations);
  batch->segments = calloc(2 * (size_t)DEFRAGMENT_BATCH_MOVES, sizeof *batch->segments);
  return batch->moves && batch->reservations && batch->segments;
}

void defragment_batch_done(struct defragment_batch *batch) {
  free(batch->segments);
  free(batch->moves);
  free(batch->reservations);
}

/* ---- reserve ---- */

static uint32_t index_in_batch(struct defragment_batch *batch, struct service *s, uint32_t index) {
  struct mover_segment segment = record_mover_segment(s, index);
  for (uint32_t i = batch->segment_count; i-- > 0;)
    if (batch->segments[i].id == segment.id)
      return i;
  batch->segments[batch->segment_count] = segment;
  return batch->segment_count++;
}

/* Under the lock: whether the block is still where the plan saw it. index: of its allocation now,
 * 0: it is gone. */
static bool is_as_planned(const struct defragment_batch_run *run, const struct defrag_move *move,
                          uint32_t index) {
  struct service *s = run->service;
  if (!index || !record_movable(s, index))
    return false;
  return record_place(s, index).offset == run->snapshot.blocks[move->block].offset;
}

/* Under the lock: the block cannot be freed any more, and its new place waits for it. */
static void reserve(struct defragment_batch *batch, const struct defragment_batch_run *run,
                    const struct defrag_move *move, uint32_t index) {
  struct service *s = run->service;
  if (!is_as_planned(run, move, index)) {
    snapshot_forgo(&run->snapshot, move);
    return;
  }
  struct space from = record_place(s, index), to = snapshot_place(&run->snapshot, move);
  state_alloc(s, index)->moving = 1;
  batch->moves[batch->move_count] =
      (struct mover_move){.from = index_in_batch(batch, s, from.segment),
                          .to = index_in_batch(batch, s, to.segment),
                          .from_offset = from.offset,
                          .to_offset = to.offset,
                          .size = from.size};
  batch->reservations[batch->move_count++] =
      (struct defragment_batch_reservation){.alloc = index, .place = to};
}

static void reserve_some(struct defragment_batch *batch, const struct defragment_batch_run *run,
                         const struct defrag_move *moves, uint32_t count) {
  struct service *s = run->service;
  uint32_t indices[LOCKED];
  LOCK_SCOPE(&s->lock);
  for (uint32_t i = 0; i < count; i++)
    indices[i] = idmap_find(&s->alloc_ids, run->snapshot.block_ids[moves[i].block]);
  record_bring(s, indices, count);
  for (uint32_t i = 0; i < count; i++)
    reserve(batch, run, &moves[i], indices[i]);
}

void defragment_batch_reserve(struct defragment_batch *batch, struct defragment_batch_run *run,
                              const struct defrag_move *moves, uint32_t count) {
  for (uint32_t n; count; moves += n, count -= n) {
    n = (uint32_t)units_min(count, LOCKED);
    reserve_some(batch, run, moves, n);
  }
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
static bool commit(struct defragment_batch *batch, struct defragment_batch_run *run, uint32_t i) {
  struct service *s = run->service;
  uint32_t index = batch->reservations[i].alloc;
  struct space *place = &batch->reservations[i].place, old;
  bool moved = batch->moves[i].ok && !record_switch(s, index, place, &old);
  state_alloc(s, index)->moving = 0;
  if (moved) {
    run->row->moved_bytes += old.size;
    run->row->allocations_moved++;
    *place = old;
  }
  return moved;
}

static void commit_some(struct defragment_batch *batch, struct defragment_batch_run *run) {
  struct service *s = run->service;
  uint32_t indices[LOCKED], moved[LOCKED], moved_count = 0, from = batch->over_count;
  uint32_t count = (uint32_t)units_min(LOCKED, batch->move_count - from);
  for (uint32_t i = 0; i < count; i++)
    indices[i] = batch->reservations[from + i].alloc;
  LOCK_SCOPE(&s->lock);
  record_bring(s, indices, count);
  for (uint32_t i = 0; i < count; i++)
    if (commit(batch, run, from + i))
      moved[moved_count++] = indices[i];
  state_alloc_events(s, moved, moved_count, EVENTS_ALLOCATION_MOVED, job_correlation(run->job));
  for (uint32_t i = 0; i < count; i++)
    record_let_go(s, indices[i]);
  batch->over_count += count;
}

void defragment_batch_commit(struct defragment_batch *batch, struct defragment_batch_run *run) {
  while (batch->over_count < batch->move_count)
    commit_some(batch, run);
}

/* ---- give ---- */

static void give_some(struct defragment_batch *batch, struct defragment_batch_run *run) {
  struct service *s = run->service;
  LOCK_SCOPE(&s->lock);
  for (unsigned i = 0; i < LOCKED && batch->over_count; i++) {
    const struct space *place = &batch->reservations[--batch->over_count].place;
    if (state_segment(s, place->segment)->blocks == 1)
      run->last[run->last_count++] = *place;
    else
      space_give(s, place, NULL, NULL);
  }
}

void defragment_batch_give(struct defragment_batch *batch, struct defragment_batch_run *run) {
  while (batch->over_count)
    give_some(batch, run);
  batch->move_count = batch->segment_count = 0;
}

static void give_one(struct defragment_batch_run *run, const struct space *place) {
  struct service *s = run->service;
  LOCK_SCOPE(&s->lock);
  uint64_t size = state_segment(s, place->segment)->size;
  if (!space_give(s, place, run->released, run->arg))
    return;
  run->releasing++;
  run->row->segments_released++;
  run->row->released_bytes += size;
}

void defragment_batch_give_last(struct defragment_batch_run *run) {
  while (run->last_count)
    give_one(run, &run->last[--run->last_count]);
}
