/*
 * defrag: victims from the emptiest slab on, each tried as a whole: its blocks, the largest first,
 * go into free ranges of slabs that stay. If one finds no place, the victim's moves are undone and
 * the slab stays. A slab that took a block in is no victim any more, so no byte moves twice.
 *
 * Free ranges are in bins by size (8 steps per power of two, as in span.c), each a list with the
 * ranges of the fullest slabs first. A block takes the first that fits of its own bin, looking at a
 * few, else the first of the next bin in which everything fits. So a block costs constant time, and
 * a plan the sorting of slabs and blocks: O(n log n).
 */
#include "memory/defrag.h"

#include <stdlib.h>

#include "base/units.h"

#define DEFRAG_BINS 512
#define DEFRAG_LOOKS 16     /* ranges of a bin that are tried before the next bin */
#define DEFRAG_ENOUGH 1000  /* balanced: 10.00 % */
#define DEFRAG_QUICK_PART 4 /* quick: slabs of which less than a quarter is used */

struct hole {
  uint64_t start, length; /* bytes */
  uint32_t segment;
  uint32_t before, after; /* in its bin; 0: none. Holes count from 1 */
};

/* A hole as it was before a block was put into it. */
struct undo {
  uint32_t hole, hole_count;
  uint64_t start, length;
};

struct sorted {
  uint64_t key, then;
  uint32_t index;
};

struct planner {
  const struct defrag_snapshot *snapshot;
  struct defrag_plan plan;
  struct hole *holes;
  uint32_t hole_count;
  uint32_t *own_holes; /* where each segment's own begin */
  uint32_t bins[DEFRAG_BINS];
  uint64_t *used;       /* of each segment */
  bool *stays;          /* has a fixed block, or took one in */
  struct sorted *order; /* segments, the emptiest first */
  struct sorted *blocks;
  struct undo *undo;
  uint32_t undo_count;
  uint64_t free_bytes; /* in the bins */
  uint64_t committed, allocated;
};

/* ---- bins ---- */

static unsigned bin_of(uint64_t length) {
  if (length < 8)
    return (unsigned)length;
  unsigned shift = 60u - (unsigned)__builtin_clzll(length);
  return (shift + 1) * 8 + (unsigned)(length >> shift) - 8;
}

static void hole_list(struct planner *p, uint32_t index) {
  struct hole *hole = &p->holes[index];
  uint32_t *head = &p->bins[bin_of(hole->length)];
  hole->before = 0;
  hole->after = *head;
  if (*head)
    p->holes[*head].before = index;
  *head = index;
  p->free_bytes += hole->length;
}

static void hole_unlist(struct planner *p, uint32_t index) {
  const struct hole *hole = &p->holes[index];
  if (hole->before)
    p->holes[hole->before].after = hole->after;
  else
    p->bins[bin_of(hole->length)] = hole->after;
  if (hole->after)
    p->holes[hole->after].before = hole->before;
  p->free_bytes -= hole->length;
}

/* A segment's own holes, the lowest address first in its bin. */
static void holes_of(struct planner *p, uint32_t segment, bool list) {
  for (uint32_t i = p->own_holes[segment + 1]; i-- > p->own_holes[segment];)
    (list ? hole_list : hole_unlist)(p, i);
}

/* ---- the picture ---- */

static uint64_t rounded(const struct planner *p, uint64_t size) {
  return units_up(size, p->snapshot->granule);
}

static void hole_add(struct planner *p, uint32_t segment, uint64_t start, uint64_t end) {
  if (start < end)
    p->holes[++p->hole_count] =
        (struct hole){.start = start, .length = end - start, .segment = segment};
}

static void look_at(struct planner *p, uint32_t index) {
  const struct defrag_segment *segment = &p->snapshot->segments[index];
  uint64_t end = 0;
  p->own_holes[index] = p->hole_count + 1;
  for (uint32_t i = segment->first_block; i < segment->first_block + segment->blocks; i++) {
    const struct defrag_block *block = &p->snapshot->blocks[i];
    hole_add(p, index, end, block->offset);
    end = block->offset + rounded(p, block->size);
    p->used[index] += end - block->offset;
    p->allocated += block->size;
    p->stays[index] |= block->fixed;
  }
  if (segment->blocks) { /* an empty one is nobody's target */
    hole_add(p, index, end, segment->size);
    p->committed += segment->size;
  }
  uint64_t part = (uint64_t)((unsigned __int128)p->used[index] * UINT32_MAX / segment->size);
  p->order[index] = (struct sorted){part, UINT64_MAX - segment->size, index};
}

static int by_key(const void *left, const void *right) {
  const struct sorted *a = left, *b = right;
  if (a->key != b->key)
    return a->key < b->key ? -1 : 1;
  if (a->then != b->then)
    return a->then < b->then ? -1 : 1;
  return a->index < b->index ? -1 : a->index > b->index;
}

static void sort(struct sorted *items, uint32_t count) {
  if (count > 1)
    qsort(items, count, sizeof *items, by_key);
}

static bool make(struct planner *p, const struct defrag_snapshot *snapshot) {
  size_t blocks = snapshot->block_count, segments = snapshot->segment_count;
  p->snapshot = snapshot;
  p->holes = calloc(2 * blocks + segments + 1, sizeof *p->holes);
  p->own_holes = calloc(segments + 1, sizeof *p->own_holes);
  p->used = calloc(segments + 1, sizeof *p->used);
  p->stays = calloc(segments + 1, sizeof *p->stays);
  p->order = calloc(segments + 1, sizeof *p->order);
  p->blocks = calloc(blocks + 1, sizeof *p->blocks);
  p->undo = calloc(blocks + 1, sizeof *p->undo);
  p->plan.moves = calloc(blocks + 1, sizeof *p->plan.moves);
  p->plan.victims = calloc(segments + 1, sizeof *p->plan.victims);
  return p->holes && p->own_holes && p->used && p->stays && p->order && p->blocks && p->undo &&
         p->plan.moves && p->plan.victims;
}

static void unmake(struct planner *p) {
  free(p->holes);
  free(p->own_holes);
  free(p->used);
  free(p->stays);
  free(p->order);
  free(p->blocks);
  free(p->undo);
}

static void look(struct planner *p) {
  uint32_t count = p->snapshot->segment_count;
  for (uint32_t i = 0; i < count; i++)
    look_at(p, i);
  p->own_holes[count] = p->hole_count + 1;
  sort(p->order, count);
  for (uint32_t i = 0; i < count; i++)
    holes_of(p, p->order[i].index, true);
}

/* ---- one block ---- */

/* Where it would start in a hole; UINT64_MAX: nowhere. */
static uint64_t place_in(const struct planner *p, const struct hole *hole,
                         const struct defrag_block *block) {
  uint64_t start = units_up(hole->start, units_max(block->alignment, 1));
  uint64_t end = hole->start + hole->length;
  return start <= end && end - start >= rounded(p, block->size) ? start : UINT64_MAX;
}

static uint32_t find(const struct planner *p, const struct defrag_block *block) {
  for (unsigned bin = bin_of(rounded(p, block->size)); bin < DEFRAG_BINS; bin++) {
    unsigned looks = DEFRAG_LOOKS;
    for (uint32_t i = p->bins[bin]; i && looks--; i = p->holes[i].after)
      if (place_in(p, &p->holes[i], block) != UINT64_MAX)
        return i;
  }
  return 0;
}

static void put(struct planner *p, uint32_t index, const struct defrag_block *block,
                struct defrag_move *move) {
  struct hole *hole = &p->holes[index];
  uint64_t start = place_in(p, hole, block), end = hole->start + hole->length;
  uint64_t behind = start + rounded(p, block->size);
  p->undo[p->undo_count++] = (struct undo){index, p->hole_count, hole->start, hole->length};
  move->target_segment = hole->segment;
  move->target_offset = start;
  hole_unlist(p, index);
  if (start > hole->start) {
    hole->length = start - hole->start;
    hole_list(p, index);
    hole_add(p, hole->segment, behind, end);
    if (behind < end)
      hole_list(p, p->hole_count);
    return;
  }
  hole->start = behind;
  hole->length = end - behind;
  if (hole->length)
    hole_list(p, index);
}

static void take_back(struct planner *p) {
  while (p->undo_count) {
    const struct undo *undo = &p->undo[--p->undo_count];
    struct hole *hole = &p->holes[undo->hole];
    if (p->hole_count > undo->hole_count)
      hole_unlist(p, p->hole_count--);
    if (hole->length)
      hole_unlist(p, undo->hole);
    hole->start = undo->start;
    hole->length = undo->length;
    hole_list(p, undo->hole);
  }
}

/* ---- one victim ---- */

static uint32_t largest_first(struct planner *p, const struct defrag_segment *segment) {
  for (uint32_t i = 0; i < segment->blocks; i++) {
    uint64_t size = p->snapshot->blocks[segment->first_block + i].size;
    p->blocks[i] = (struct sorted){UINT64_MAX - size, 0, segment->first_block + i};
  }
  sort(p->blocks, segment->blocks);
  return segment->blocks;
}

/* Moves by rising place, as those who take exact places like them (span_take_at). */
static void order_moves(struct planner *p, struct defrag_move *moves, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    p->blocks[i] = (struct sorted){moves[i].target_segment, moves[i].target_offset, moves[i].block};
  sort(p->blocks, count);
  for (uint32_t i = 0; i < count; i++)
    moves[i] = (struct defrag_move){.block = p->blocks[i].index,
                                    .target_segment = (uint32_t)p->blocks[i].key,
                                    .target_offset = p->blocks[i].then};
}

static bool place_all(struct planner *p, const struct defrag_segment *segment) {
  struct defrag_move *moves = p->plan.moves + p->plan.move_count;
  uint32_t count = largest_first(p, segment);
  p->undo_count = 0;
  for (uint32_t i = 0; i < count; i++) {
    const struct defrag_block *block = &p->snapshot->blocks[p->blocks[i].index];
    uint32_t hole = find(p, block);
    if (!hole) {
      take_back(p);
      return false;
    }
    moves[i].block = p->blocks[i].index;
    put(p, hole, block, &moves[i]);
  }
  order_moves(p, moves, count);
  return true;
}

static void empty(struct planner *p, uint32_t index) {
  const struct defrag_segment *segment = &p->snapshot->segments[index];
  holes_of(p, index, false);
  if (p->used[index] > p->free_bytes || !place_all(p, segment)) {
    holes_of(p, index, true);
    return;
  }
  struct defrag_plan *plan = &p->plan;
  for (uint32_t i = 0; i < segment->blocks; i++) {
    const struct defrag_move *move = &plan->moves[plan->move_count + i];
    p->stays[move->target_segment] = true;
    plan->moved_bytes += p->snapshot->blocks[move->block].size;
  }
  plan->move_count += segment->blocks;
  plan->victims[plan->victim_count++] = index;
  plan->released_bytes += segment->size;
  p->committed -= segment->size;
}

static bool is_enough(const struct planner *p, const struct defrag_params *params) {
  if (params->max_bytes && p->plan.moved_bytes >= params->max_bytes)
    return true;
  uint32_t lost = units_percent(units_minus(p->committed, p->allocated), p->committed);
  return params->strategy == DEFRAG_BALANCED && lost < DEFRAG_ENOUGH;
}

static bool is_victim(const struct planner *p, uint32_t index, enum defrag_strategy strategy) {
  const struct defrag_segment *segment = &p->snapshot->segments[index];
  if (p->stays[index] || !segment->blocks)
    return false;
  return strategy != DEFRAG_QUICK || p->used[index] < segment->size / DEFRAG_QUICK_PART;
}

enum status defrag_plan_make(const struct defrag_snapshot *snapshot,
                             const struct defrag_params *params, struct defrag_plan *out) {
  struct planner p = {0};
  if (!make(&p, snapshot)) {
    unmake(&p);
    defrag_plan_free(&p.plan);
    return STATUS_INTERNAL_ERROR;
  }
  look(&p);
  for (uint32_t i = 0; i < snapshot->segment_count && !is_enough(&p, params); i++)
    if (is_victim(&p, p.order[i].index, params->strategy))
      empty(&p, p.order[i].index);
  unmake(&p);
  *out = p.plan;
  return STATUS_OK;
}

void defrag_plan_free(struct defrag_plan *plan) {
  free(plan->moves);
  free(plan->victims);
  *plan = (struct defrag_plan){0};
}
