/*
 * defrag: which segments to empty and where their blocks go. Plan only: a pure function from a
 * snapshot of one owner's slabs on one device to a list of moves. The service copies and commits
 * them (plan–copy–commit).
 *
 * Idea: the emptiest slabs (by the share that is used: the least to copy for a byte that goes back)
 * go first, into the free ranges of the fullest that stay (best fit by decreasing block size); a
 * slab is a victim only if all its blocks are movable and all find a place, so that every move
 * helps to give a segment back and no byte is copied twice. Pinned, attached and busy blocks never
 * move. Which slabs come first their sums tell; blocks are looked at when it is their turn, so that
 * moves are there before all was seen, and of what will never move nothing but its place is asked.
 */
#ifndef MEMORY_DEFRAG_H
#define MEMORY_DEFRAG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "memory/span.h"

enum defrag_strategy {
  DEFRAG_QUICK,    /* slabs under a quarter full */
  DEFRAG_BALANCED, /* until fragmentation is under 10 % */
  DEFRAG_THOROUGH, /* until no segment can be emptied any more */
};

struct defrag_block {
  uint64_t offset, size, alignment;
  bool fixed; /* pinned, attached, busy */
};
struct defrag_segment {
  uint64_t size;
  uint64_t taken, bytes;        /* by its blocks: with what the granule adds, without */
  bool fixed;                   /* it stays, whatever else is in it */
  uint32_t first_block, blocks; /* range in the blocks array, by rising offset */
};
struct defrag_move {
  uint32_t block;          /* index into snapshot blocks */
  uint32_t target_segment; /* index into snapshot segments */
  uint64_t target_offset;
  uint32_t node;    /* of the place's span */
  uint32_t segment; /* where the block is now, index as target_segment */
};
/* Where blocks are put, for who carries the plan out: no other can take a place then between the
 * plan and the move. All that was not undone is in the plan's moves, and theirs to give who asked
 * for them. */
struct defrag_places {
  /* Around some of the next two. */
  void (*enter)(void *arg);
  void (*leave)(void *arg);
  /* As span_take; NOT_FOUND: this slab takes nothing in. */
  enum status (*take)(void *arg, uint32_t segment, const struct span_request *request,
                      struct defrag_move *move);
  void (*give)(void *arg, const struct defrag_move *move);
  /* Not between those two: a slab that was looked at to be emptied stays as it is. */
  void (*stay)(void *arg, uint32_t segment);
};
struct defrag_snapshot {
  const struct defrag_segment *segments;
  uint32_t segment_count;
  const struct defrag_block *blocks;
  uint32_t block_count; /* all that there is room for */
  uint64_t granule;
  /* Fills in the range of a segment and what lies there, when it is first needed: where blocks are,
   * or, to move them, all of it (a second look may be at other blocks). With places: once, to move
   * them, and they wait for it from then on. False: it cannot be looked at, or something in it is
   * fixed. NULL: all is there. */
  bool (*look)(void *arg, uint32_t segment, bool to_move);
  const struct defrag_places *places; /* NULL: in copies of the slabs, which the planner makes */
  void *arg;                          /* of all these */
};
struct defrag_plan {
  struct defrag_move *moves; /* malloced; defrag_plan_free. Grouped by victim: all moves of one
                                victim are adjacent */
  uint32_t move_count;
  uint32_t *victims; /* indices of segments that will be empty, in order of the moves */
  uint32_t victim_count;
  uint64_t moved_bytes, released_bytes;
};

/* INTERNAL_ERROR only when out of memory. max_bytes: stop planning further victims beyond this many
 * moved bytes (0: no limit). O(n log n) in blocks + segments. An empty plan is OK. */
struct defrag_params {
  enum defrag_strategy strategy;
  uint64_t max_bytes;
};
enum status defrag_plan_make(const struct defrag_snapshot *snapshot,
                             const struct defrag_params *params, struct defrag_plan *out);
void defrag_plan_free(struct defrag_plan *plan);

/* The same plan piece by piece, for who carries out the beginning while the rest is planned. The
 * snapshot outlives the planner. */
struct defrag_planner;
enum status defrag_planner_create(const struct defrag_snapshot *snapshot,
                                  const struct defrag_params *params, struct defrag_planner **out);
/* Plans whole victims on until there are at least so many moves, or all. The plan is the planner's;
 * what stood in it before stays where it is. */
const struct defrag_plan *defrag_planner_go_on(struct defrag_planner *planner, uint32_t moves);
/* NULL is fine. */
void defrag_planner_free(struct defrag_planner *planner);

#endif
