/*
 * defragment_batch: some moves of a plan on their way: their targets are reserved, the mover
 * copies, each block that it copied is switched over, and the places that are left behind go back.
 * Private to work_defragment, on the decision thread, but for the mover's part.
 */
#ifndef SERVICE_DEFRAGMENT_BATCH_H
#define SERVICE_DEFRAGMENT_BATCH_H

#include "service/job_work.h"
#include "service/mover.h"
#include "service/segment.h"
#include "service/snapshot.h"

#define DEFRAGMENT_BATCH_MOVES                                                                     \
  500 /* at most: what waits behind a batch does so for half a millisecond */

/* What all batches of a run share. */
struct defragment_batch_run {
  struct service *service;
  struct job *job;
  struct snapshot snapshot;       /* what the planned moves speak of */
  struct mover_move *moves;       /* each planned one in the mover's words, in the plan's order */
  struct mover_segment *segments; /* of all batches, each has a row with room for all there are */
  uint32_t *in_batch; /* of each of the snapshot's segments the index in the batch that spoke of it
                         last */
  struct job_defrag_device *row; /* its figures; under the state lock, as the next */
  uint32_t releasing;            /* segments on their way back */
  segment_then_fn *released;     /* for each when the driver has it; who hears it counts down */
  void *arg;
};

struct defragment_batch {
  struct mover_task task;
  struct mover_segment *segments;
  struct mover_move *moves;
  const struct defrag_move *planned; /* what the moves are about: the plan's */
  uint32_t segment_count, move_count;
};

/* There is a snapshot: room for what is moved of it, in so many batches at a time. False: no
 * memory; defragment_batch_run_done all the same, which forgets the snapshot too. */
bool defragment_batch_run_init(struct defragment_batch_run *run, uint32_t batches);
void defragment_batch_run_done(struct defragment_batch_run *run);

/* One that is not under way: it will be of the planned moves from this one on. */
void defragment_batch_begin(struct defragment_batch *batch, const struct defragment_batch_run *run,
                            uint32_t row, uint32_t first_move);
/* Puts so many planned moves into the batch, DEFRAGMENT_BATCH_MOVES in all. Those of one batch
 * follow each other in the plan. */
void defragment_batch_reserve(struct defragment_batch *batch, struct defragment_batch_run *run,
                              const struct defrag_move *moves, uint32_t count);
/* Takes the lock, again and again, as the next. Their places go back, and the blocks stay. */
void defragment_batch_forgo(struct defragment_batch_run *run, const struct defrag_move *moves,
                            uint32_t count);
/* Hands what was reserved to the mover. */
void defragment_batch_submit(struct defragment_batch *batch, struct defragment_batch_run *run,
                             void (*done)(struct mover_task *task));
/* Takes the lock, again and again, as the next. The mover is done: what it copied is where it
 * copied it to. */
void defragment_batch_commit(struct defragment_batch *batch, struct defragment_batch_run *run);
/* Nothing more leaves a victim, which is still closed: the places that its blocks left go back, and
 * it with them if these were all: true. */
bool defragment_batch_give(struct defragment_batch_run *run, uint32_t victim);

#endif
