/*
 * defrag: victims from the emptiest slab on, each tried as a whole: its blocks, the largest first,
 * go into slabs that stay. If one finds no place, what was planned for the victim is undone and the
 * slab stays. A slab that took a block in is no victim any more, so no byte moves twice.
 *
 * What fits is tried: in the slabs themselves, where the places are taken for who carries the plan
 * out, or in copies of their spans. A copy is made when something is first to be put in. A block
 * goes to the first slab that has a place for it, slabs with fixed blocks before all others (they
 * stay anyway), then the fullest. Were it the best fitting range of all, blocks would land
 * everywhere, and each slab that takes one stays.
 *
 * That slab is found in a tree of maxima over a bound of each slab's longest free range. A bound is
 * the free bytes at first and sinks with what did not fit. O(log n) a block: O(n log n).
 */
#include "memory/defrag.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "memory/sort.h"
#include "memory/span.h"

#define DEFRAG_LOOKS 16     /* slabs that are tried for an aligned block by chance */
#define DEFRAG_ENOUGH 1000  /* balanced: 10.00 % */
#define DEFRAG_QUICK_PART 4 /* quick: slabs of which less than a quarter is used */
#define DEFRAG_TOGETHER 32  /* blocks that find their places in one go */

struct slab {
  uint64_t size;     /* 0: no block in it, nobody's victim or target */
  uint64_t used;     /* by its blocks, as they were seen last */
  struct span *span; /* a copy; NULL: nothing was ever to be put in */
  uint64_t before;   /* the bound when this victim was begun, if touched */
  uint32_t place;    /* among the targets, the best first */
  bool stays;        /* has a fixed block, or took one in */
  bool touched;      /* while this victim was tried */
};

struct defrag_planner {
  const struct defrag_snapshot *snapshot;
  struct defrag_params params;
  struct defrag_plan plan;
  uint32_t next; /* of order: the next slab to try */
  struct pool nodes;
  struct slab *slabs;
  struct sort_item *order; /* slabs, the emptiest first, those that stay at the end */
  struct sort_item *blocks, *spare;
  struct defrag_move *unordered; /* of this victim */
  uint32_t *touched;
  uint32_t touched_count;
  uint64_t *bounds; /* tree: [1] the root, [leaves + place] a slab */
  uint32_t leaves;
  uint64_t free_bytes; /* of all slabs that are not empty */
  uint64_t committed, allocated;
};

/* ---- bounds ---- */

static uint64_t bound_of(const struct defrag_planner *p, uint32_t index) {
  return p->bounds[p->leaves + p->slabs[index].place];
}

static void bound_set(struct defrag_planner *p, uint32_t index, uint64_t bound) {
  size_t i = (size_t)p->leaves + p->slabs[index].place;
  p->bounds[i] = bound;
  while (i >>= 1) {
    uint64_t most = units_max(p->bounds[2 * i], p->bounds[2 * i + 1]);
    if (p->bounds[i] == most)
      return;
    p->bounds[i] = most;
  }
}

/* Until the victim is settled, the bound can be had back. */
static void bound_sink(struct defrag_planner *p, uint32_t index, uint64_t bound) {
  struct slab *slab = &p->slabs[index];
  if (bound >= bound_of(p, index))
    return;
  if (!slab->touched) {
    slab->touched = true;
    slab->before = bound_of(p, index);
    p->touched[p->touched_count++] = index;
  }
  bound_set(p, index, bound);
}

static void bounds_settle(struct defrag_planner *p, bool restore) {
  while (p->touched_count) {
    uint32_t index = p->touched[--p->touched_count];
    p->slabs[index].touched = false;
    if (restore)
      bound_set(p, index, p->slabs[index].before);
  }
}

/* The first place from this one on whose bound is at least `need`; UINT32_MAX: none. */
static uint32_t place_from(const struct defrag_planner *p, uint32_t place, uint64_t need) {
  if (place >= p->leaves)
    return UINT32_MAX;
  size_t i = (size_t)p->leaves + place;
  while (p->bounds[i] < need) {
    while (i & 1)
      i >>= 1;
    if (!i)
      return UINT32_MAX;
    i++;
  }
  while (i < p->leaves)
    i = 2 * i + (p->bounds[2 * i] < need);
  return (uint32_t)(i - p->leaves);
}

/* ---- the picture ---- */

static uint64_t free_in(const struct slab *slab) { return slab->size - slab->used; }

/* A snapshot is made in pieces: blocks of it that overlap were not there at the same time. */
struct place {
  uint64_t start, stop;
};

static struct place place_of(const struct defrag_planner *p, const struct defrag_block *block,
                             uint64_t end) {
  return (struct place){.start = units_max(block->offset, end),
                        .stop = block->offset + units_up(block->size, p->snapshot->granule)};
}

static void weigh(struct defrag_planner *p, uint32_t index) {
  const struct defrag_segment *segment = &p->snapshot->segments[index];
  struct slab *slab = &p->slabs[index];
  p->order[index] = (struct sort_item){0, 0, index};
  slab->size = segment->taken ? segment->size & ~(p->snapshot->granule - 1) : 0;
  if (!slab->size) /* nor has one that is lost any bytes */
    return;
  slab->used = units_min(segment->taken, slab->size);
  slab->stays = segment->fixed;
  p->allocated += segment->bytes;
  p->committed += segment->size;
  p->free_bytes += free_in(slab);
  uint64_t part = (uint64_t)((unsigned __int128)slab->used * UINT32_MAX / slab->size);
  p->order[index].key = part + ((uint64_t)slab->stays << 32);
  p->order[index].then = UINT64_MAX - segment->size;
}

static bool look(const struct defrag_planner *p, uint32_t index, bool to_move) {
  const struct defrag_snapshot *snapshot = p->snapshot;
  return !snapshot->look || snapshot->look(snapshot->arg, index, to_move);
}

/* By what was seen of a slab that is to be emptied. False: it stays. */
static bool may_go(struct defrag_planner *p, uint32_t index) {
  const struct defrag_segment *segment = &p->snapshot->segments[index];
  struct slab *slab = &p->slabs[index];
  uint64_t end = 0, used = 0;
  slab->stays = !segment->blocks;
  for (uint32_t i = 0; i < segment->blocks && !slab->stays; i++) {
    const struct defrag_block *block = &p->snapshot->blocks[segment->first_block + i];
    struct place place = place_of(p, block, end);
    bool fits = place.start < place.stop && place.stop <= slab->size;
    slab->stays = block->fixed || place.start > block->offset || !fits;
    used += place.stop - place.start;
    end = place.stop;
  }
  if (slab->stays)
    return false;
  p->free_bytes += slab->used - used;
  slab->used = used;
  return true;
}

/* Its blocks as a span, once something is to be put between them. False: no memory. */
static bool copy_slab(struct defrag_planner *p, uint32_t index) {
  const struct defrag_segment *segment = &p->snapshot->segments[index];
  struct slab *slab = &p->slabs[index];
  uint64_t end = 0;
  if (!look(p, index, false) ||
      span_create(&p->nodes, slab->size, p->snapshot->granule, &slab->span))
    return false;
  for (uint32_t i = 0; i < segment->blocks; i++) {
    struct place place = place_of(p, &p->snapshot->blocks[segment->first_block + i], end);
    const struct span_request request = {units_minus(place.stop, place.start), 1, 1};
    uint32_t node;
    (void)span_take_at(slab->span, place.start, &request, &node);
    end = units_max(end, place.stop);
  }
  return true;
}

/* ---- life ---- */

static bool make(struct defrag_planner *p, const struct defrag_snapshot *snapshot) {
  size_t blocks = snapshot->block_count, segments = snapshot->segment_count;
  uint64_t nodes = 4 * (uint64_t)blocks + segments; /* each, and a free range behind; and moved */
  p->snapshot = snapshot;
  p->leaves = (uint32_t)units_power_up(segments);
  p->slabs = calloc(segments + 1, sizeof *p->slabs);
  p->order = calloc(segments + 1, sizeof *p->order);
  p->blocks = malloc((blocks + 1) * sizeof *p->blocks);
  p->spare = malloc((units_max(blocks, segments) + 1) * sizeof *p->spare);
  p->unordered = malloc((blocks + 1) * sizeof *p->unordered);
  p->touched = calloc(segments + 1, sizeof *p->touched);
  p->bounds = calloc(2 * (size_t)p->leaves, sizeof *p->bounds);
  p->plan.moves = malloc((blocks + 1) * sizeof *p->plan.moves);
  p->plan.victims = calloc(segments + 1, sizeof *p->plan.victims);
  return p->slabs && p->order && p->blocks && p->spare && p->unordered && p->touched && p->bounds &&
         p->plan.moves && p->plan.victims &&
         (snapshot->places ||
          !span_nodes_init(&p->nodes, (uint32_t)units_min(nodes, UINT32_MAX - 1)));
}

static void unmake(struct defrag_planner *p) {
  for (uint32_t i = 0; p->slabs && i < p->snapshot->segment_count; i++)
    span_forget(p->slabs[i].span);
  pool_done(&p->nodes);
  free(p->slabs);
  free(p->order);
  free(p->blocks);
  free(p->spare);
  free(p->unordered);
  free(p->touched);
  free(p->bounds);
}

static void weigh_all(struct defrag_planner *p) {
  uint32_t count = p->snapshot->segment_count;
  for (uint32_t i = 0; i < count; i++)
    weigh(p, i);
  sort_items(p->order, p->spare, count);
  for (uint32_t i = 0; i < count; i++) {
    struct slab *slab = &p->slabs[p->order[i].index];
    slab->place = count - 1 - i;
    bound_set(p, p->order[i].index, free_in(slab));
  }
}

/* ---- places ---- */

static void enter(const struct defrag_planner *p) {
  if (p->snapshot->places)
    p->snapshot->places->enter(p->snapshot->arg);
}

static void leave(const struct defrag_planner *p) {
  if (p->snapshot->places)
    p->snapshot->places->leave(p->snapshot->arg);
}

static enum status take(struct defrag_planner *p, uint32_t index,
                        const struct span_request *request, struct defrag_move *move) {
  const struct defrag_snapshot *snapshot = p->snapshot;
  struct slab *slab = &p->slabs[index];
  if (snapshot->places)
    return snapshot->places->take(snapshot->arg, index, request, move);
  if (!slab->span && !copy_slab(p, index))
    return STATUS_NOT_FOUND;
  move->target_segment = index;
  return span_take(slab->span, request, &move->node, &move->target_offset);
}

static void give(struct defrag_planner *p, const struct defrag_move *move) {
  struct slab *slab = &p->slabs[move->target_segment];
  uint64_t size = units_up(p->snapshot->blocks[move->block].size, p->snapshot->granule);
  slab->used = units_minus(slab->used, size);
  if (p->snapshot->places)
    p->snapshot->places->give(p->snapshot->arg, move);
  else
    span_give(slab->span, move->node);
}

static bool put_in(struct defrag_planner *p, uint32_t index, const struct span_request *request,
                   struct defrag_move *move) {
  struct slab *slab = &p->slabs[index];
  uint64_t granule = p->snapshot->granule, size = units_up(request->size, granule);
  enum status status = take(p, index, request, move);
  if (status) {
    uint64_t slack = units_max(request->alignment, granule) - granule;
    bound_sink(p, index, status == STATUS_NOT_FOUND ? 0 : size + slack - granule);
    return false;
  }
  slab->used = units_min(slab->used + size, slab->size); /* others may have left */
  bound_sink(p, index, free_in(slab));
  return true;
}

static bool put(struct defrag_planner *p, struct defrag_move *move) {
  const struct defrag_block *block = &p->snapshot->blocks[move->block];
  const struct span_request request = {block->size, units_max(block->alignment, 1), 1};
  uint64_t granule = p->snapshot->granule, need = units_up(block->size, granule);
  uint32_t last = p->snapshot->segment_count - 1;
  unsigned looks = 0;
  for (uint32_t place = 0;; place++) {
    if (looks++ == DEFRAG_LOOKS)
      need += units_max(block->alignment, granule) - granule;
    place = place_from(p, place, need);
    if (place == UINT32_MAX)
      return false;
    if (put_in(p, p->order[last - place].index, &request, move))
      return true;
  }
}

/* ---- one victim ---- */

static void largest_first(struct defrag_planner *p, const struct defrag_segment *segment) {
  for (uint32_t i = 0; i < segment->blocks; i++) {
    uint64_t size = p->snapshot->blocks[segment->first_block + i].size;
    p->blocks[i] = (struct sort_item){UINT64_MAX - size, 0, segment->first_block + i};
  }
  sort_items(p->blocks, p->spare, segment->blocks);
}

/* By where they go: who speaks of them names each pair of segments once. */
static void order_moves(struct defrag_planner *p, struct defrag_move *moves, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    p->blocks[i] = (struct sort_item){moves[i].target_segment, 0, i};
  sort_items(p->blocks, p->spare, count);
  memcpy(p->unordered, moves, count * sizeof *moves);
  for (uint32_t i = 0; i < count; i++)
    moves[i] = p->unordered[p->blocks[i].index];
}

/* How many of the victim's find a place: of some. */
static uint32_t place_some(struct defrag_planner *p, struct defrag_move *moves, uint32_t count) {
  uint32_t placed = 0;
  enter(p);
  while (placed < count && put(p, &moves[placed]))
    placed++;
  leave(p);
  return placed;
}

static void give_some(struct defrag_planner *p, const struct defrag_move *moves, uint32_t count) {
  enter(p);
  while (count--)
    give(p, &moves[count]);
  leave(p);
}

static uint32_t place_blocks(struct defrag_planner *p, struct defrag_move *moves, uint32_t count) {
  uint32_t placed = 0, some, most;
  do {
    most = (uint32_t)units_min(count - placed, DEFRAG_TOGETHER);
    some = place_some(p, moves + placed, most);
    placed += some;
  } while (some && some == most);
  return placed;
}

static void give_blocks(struct defrag_planner *p, const struct defrag_move *moves, uint32_t count) {
  for (uint32_t some; count; count -= some) {
    some = (uint32_t)units_min(count, DEFRAG_TOGETHER);
    give_some(p, moves + count - some, some);
  }
}

static bool place_all(struct defrag_planner *p, const struct defrag_segment *segment) {
  struct defrag_move *moves = p->plan.moves + p->plan.move_count;
  largest_first(p, segment);
  for (uint32_t i = 0; i < segment->blocks; i++) {
    moves[i].block = p->blocks[i].index;
    moves[i].segment = (uint32_t)(segment - p->snapshot->segments);
  }
  uint32_t placed = place_blocks(p, moves, segment->blocks);
  bool all = placed == segment->blocks;
  if (all)
    order_moves(p, moves, placed);
  else
    give_blocks(p, moves, placed);
  bounds_settle(p, !all);
  return all;
}

/* Whether all its blocks could find a place in the others, were these one. */
static bool has_room(const struct defrag_planner *p, uint32_t index) {
  const struct slab *slab = &p->slabs[index];
  return slab->used <= p->free_bytes - free_in(slab);
}

/* False: it stays. */
static bool empty(struct defrag_planner *p, uint32_t index) {
  const struct defrag_segment *segment = &p->snapshot->segments[index];
  uint64_t own = free_in(&p->slabs[index]), used = p->slabs[index].used;
  uint64_t bound = bound_of(p, index);
  bound_set(p, index, 0);
  if (!place_all(p, segment)) {
    bound_set(p, index, bound);
    return false;
  }
  struct defrag_plan *plan = &p->plan;
  for (uint32_t i = 0; i < segment->blocks; i++) {
    const struct defrag_move *move = &plan->moves[plan->move_count + i];
    p->slabs[move->target_segment].stays = true;
    plan->moved_bytes += p->snapshot->blocks[move->block].size;
  }
  plan->move_count += segment->blocks;
  plan->victims[plan->victim_count++] = index;
  plan->released_bytes += segment->size;
  p->committed -= segment->size;
  p->free_bytes -= own + used;
  return true;
}

static void try(struct defrag_planner *p, uint32_t index) {
  const struct defrag_snapshot *snapshot = p->snapshot;
  if (!look(p, index, true))
    p->slabs[index].stays = true;
  else if (!(may_go(p, index) && has_room(p, index) && empty(p, index)) && snapshot->places)
    snapshot->places->stay(snapshot->arg, index);
}

static bool is_enough(const struct defrag_planner *p) {
  if (p->params.max_bytes && p->plan.moved_bytes >= p->params.max_bytes)
    return true;
  uint32_t lost = units_percent(units_minus(p->committed, p->allocated), p->committed);
  return p->params.strategy == DEFRAG_BALANCED && lost < DEFRAG_ENOUGH;
}

static bool is_victim(const struct defrag_planner *p, uint32_t index) {
  const struct slab *slab = &p->slabs[index];
  if (slab->stays || !slab->size)
    return false;
  return p->params.strategy != DEFRAG_QUICK || slab->used < slab->size / DEFRAG_QUICK_PART;
}

/* ---- all of it ---- */

enum status defrag_planner_create(const struct defrag_snapshot *snapshot,
                                  const struct defrag_params *params, struct defrag_planner **out) {
  struct defrag_planner *p = calloc(1, sizeof *p);
  if (!p)
    return STATUS_INTERNAL_ERROR;
  p->params = *params;
  if (!make(p, snapshot)) {
    defrag_planner_free(p);
    return STATUS_INTERNAL_ERROR;
  }
  weigh_all(p);
  *out = p;
  return STATUS_OK;
}

void defrag_planner_free(struct defrag_planner *p) {
  if (!p)
    return;
  unmake(p);
  defrag_plan_free(&p->plan);
  free(p);
}

const struct defrag_plan *defrag_planner_go_on(struct defrag_planner *p, uint32_t moves) {
  while (p->plan.move_count < moves && p->next < p->snapshot->segment_count && !is_enough(p)) {
    uint32_t index = p->order[p->next++].index;
    if (is_victim(p, index) && has_room(p, index))
      try(p, index);
  }
  return &p->plan;
}

enum status defrag_plan_make(const struct defrag_snapshot *snapshot,
                             const struct defrag_params *params, struct defrag_plan *out) {
  struct defrag_planner *p;
  enum status status = defrag_planner_create(snapshot, params, &p);
  if (status)
    return status;
  *out = *defrag_planner_go_on(p, UINT32_MAX);
  p->plan = (struct defrag_plan){0};
  defrag_planner_free(p);
  return STATUS_OK;
}

void defrag_plan_free(struct defrag_plan *plan) {
  free(plan->moves);
  free(plan->victims);
  *plan = (struct defrag_plan){0};
}
