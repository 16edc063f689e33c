/*
 * snapshot: an owner's slabs on a device, as the planner of a defragmentation wants them. Private
 * to work_defragment, on one thread.
 *
 * At first it has the sums alone, which the service keeps for each slab; blocks are copied out when
 * the planner asks for a slab's.
 */
#ifndef SERVICE_SNAPSHOT_H
#define SERVICE_SNAPSHOT_H

#include "memory/defrag.h"
#include "service/space.h"
#include "service/state.h"

struct snapshot {
  struct service *service; /* whose, as the next three: the caller sets them */
  uint32_t device;
  uint64_t owner;
  bool dry; /* nothing is to be moved, and no place to be taken */
  struct defrag_segment *segments;
  struct defrag_block *blocks;
  uint64_t *segment_ids; /* behind the planner's indices, as the next */
  uint32_t *indices;     /* of segments: of one that has a planned move's block or place in it */
  uint32_t *allocs;      /* of blocks: of one that waits for its move */
  uint32_t *left;        /* of blocks: the node of the place that one left; 0, as at first: none */
  struct {
    struct span *span;
  } * gone; /* of slabs that went back: nobody waits for them to be taken apart */
  uint32_t gone_count;
  uint32_t near; /* the one whose index was looked for last */
  uint32_t segment_count, block_count, block_space;
  struct defrag_snapshot view; /* the planner's */
};

/* Without the state lock, as the next: it is taken for some slabs or blocks at a time, so the
 * picture may be older than the present, and its parts are not of the same moment. But the planned
 * victims are closed, their blocks are `moving` and the places of the moves are taken: all theirs
 * to end who carries the plan out. The planner goes before it. INTERNAL_ERROR: no memory;
 * snapshot_free all the same. */
enum status snapshot_plan(struct snapshot *snapshot, enum defrag_strategy strategy,
                          struct defrag_planner **planner);
void snapshot_free(struct snapshot *snapshot);
/* A victim is none any more. */
void snapshot_open(struct snapshot *snapshot, uint32_t index);
/* Under the state lock, as the next. What was taken for a planned move, which is not dry; the size
 * is its block's. */
struct space snapshot_place(const struct snapshot *snapshot, const struct defrag_move *move,
                            uint64_t size);
/* It goes back, and the block stays. */
void snapshot_forgo(struct snapshot *snapshot, const struct defrag_move *move);

#endif
