/*
 * arena: all pieces of the range stand in one list in order of addresses, gaps without memory among
 * them, and no two neighbours could be one. Segments only say which of it can be taken out.
 */
#include "torch/arena.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "torch/block.h"

#define ARENA_SEGMENTS 8192 /* the daemon gives no process as many */
#define ARENA_LOOKS 16      /* at pieces that wait, in one call */

struct arena {
  struct arena_params params;
  struct block_store store;
  struct block *first, *last; /* by address */
  struct block *waiting, **waiting_end;
  struct arena_segment *segments; /* by address */
  uint32_t segment_count, segment_room;
  uint64_t reserved, used, peak;
};

struct arena *arena_create(const struct arena_params *params) {
  struct arena *arena = calloc(1, sizeof *arena);
  if (!arena)
    return NULL;
  arena->params = *params;
  arena->waiting_end = &arena->waiting;
  if (!block_store_init(&arena->store) || !block_expect(&arena->store, 1)) {
    arena_free(arena);
    return NULL;
  }
  arena->first = arena->last = block_make(&arena->store, params->start, params->size);
  return arena;
}

void arena_free(struct arena *arena) {
  if (!arena)
    return;
  block_store_done(&arena->store);
  free(arena->segments);
  free(arena);
}

static bool has_passed(const struct arena *arena, uint32_t stream, uint64_t mark) {
  return !mark || arena->params.clock.passed(arena->params.clock.ctx, stream, mark);
}

/* ---- the list ---- */

static void put_after(struct arena *arena, struct block *block, struct block *new) {
  new->before = block;
  new->after = block->after;
  *(block->after ? &block->after->before : &arena->last) = new;
  block->after = new;
}

/* Takes `next`, which follows it, into `block`. Neither is in the tree. */
static void swallow(struct arena *arena, struct block *block, struct block *next) {
  block->size += next->size;
  block->mark = units_max(block->mark, next->mark);
  block->after = next->after;
  *(next->after ? &next->after->before : &arena->last) = block;
  block_drop(&arena->store, next);
}

/* Cuts what is beyond `size` off; it is the same otherwise. After block_expect. */
static struct block *cut(struct arena *arena, struct block *block, uint64_t size) {
  struct block *rest = block_make(&arena->store, block->start + size, block->size - size);
  rest->kind = block->kind;
  rest->stream = block->stream;
  rest->mark = block->mark;
  block->size = size;
  put_after(arena, block, rest);
  return rest;
}

static bool are_one(const struct block *a, const struct block *b) {
  return a && b && a->kind == b->kind &&
         (a->kind == BLOCK_GAP || (a->kind == BLOCK_FREE && a->stream == b->stream));
}

/* A piece that is in no tree or table becomes free. */
static void set_free(struct arena *arena, struct block *block) {
  block->kind = BLOCK_FREE;
  block->others = 0;
  if (are_one(block->before, block)) {
    block = block->before;
    block_tree_take(&arena->store, block);
    swallow(arena, block, block->after);
  }
  if (are_one(block, block->after)) {
    block_tree_take(&arena->store, block->after);
    swallow(arena, block, block->after);
  }
  block_tree_put(&arena->store, block);
}

/* ---- taking and giving ---- */

static bool is_over(const struct arena *arena, const struct block *block) {
  for (uint64_t bits = block->others; bits; bits &= bits - 1)
    if (!has_passed(arena, (uint32_t)__builtin_ctzll(bits), block->mark))
      return false;
  return true;
}

/* The first few that wait: those whose streams are done become free. */
static void end_waiting(struct arena *arena) {
  struct block **link = &arena->waiting;
  for (unsigned i = 0; *link && i < ARENA_LOOKS; i++) {
    struct block *block = *link;
    if (!is_over(arena, block)) {
      link = &block->next;
      continue;
    }
    *link = block->next;
    if (!*link)
      arena->waiting_end = link;
    arena->used -= block->size;
    set_free(arena, block);
  }
}

uint64_t arena_take(struct arena *arena, uint64_t size, uint32_t stream) {
  if (!size || size > arena->params.size)
    return 0;
  size = units_up(size, ARENA_ROUND);
  if (arena->waiting)
    end_waiting(arena);
  struct block *block = block_tree_fit(&arena->store, stream, size);
  if (!block || (block->size > size && !block_expect(&arena->store, 1)))
    return 0;
  block_tree_take(&arena->store, block);
  if (block->size > size)
    block_tree_put(&arena->store, cut(arena, block, size));
  block->kind = BLOCK_USED;
  block_table_put(&arena->store, block);
  arena->used += size;
  arena->peak = units_max(arena->peak, arena->used);
  return block->start;
}

bool arena_give(struct arena *arena, uint64_t start) {
  const struct arena_clock *clock = &arena->params.clock;
  struct block *block = block_table_take(&arena->store, start);
  if (!block)
    return false;
  block->mark = clock->mark(clock->ctx, block->stream, block->others);
  if (block->others) {
    block->kind = BLOCK_WAITING;
    block->next = NULL;
    *arena->waiting_end = block;
    arena->waiting_end = &block->next;
    return true;
  }
  arena->used -= block->size;
  set_free(arena, block);
  return true;
}

bool arena_share(struct arena *arena, uint64_t start, uint32_t stream) {
  struct block *block = block_table_find(&arena->store, start);
  if (block && block->stream != stream)
    block->others |= UINT64_C(1) << stream;
  return block;
}

/* ---- other streams' ---- */

void arena_adopt(struct arena *arena, uint32_t stream) {
  for (struct block *block = arena->first, *next; block; block = next) {
    next = block->after;
    if (block->kind != BLOCK_FREE || block->stream == stream ||
        !has_passed(arena, block->stream, block->mark))
      continue;
    block_tree_take(&arena->store, block);
    block->stream = stream;
    block->mark = 0;
    next = are_one(block, next) ? next->after : next; /* it may be swallowed */
    set_free(arena, block);
  }
}

/* ---- segments ---- */

static uint64_t free_beside(const struct block *block, uint32_t stream) {
  return block && block->kind == BLOCK_FREE && block->stream == stream ? block->size : 0;
}

/* How much of this gap must have memory for a piece of `size`; 0: it has not as much. */
static uint64_t need_of(const struct arena *arena, const struct block *gap, uint64_t size,
                        uint32_t stream) {
  uint64_t before = free_beside(gap->before, stream), after = free_beside(gap->after, stream);
  uint64_t need = units_up(units_max(units_minus(size, before), 1), arena->params.granule);
  if (need <= gap->size)
    return need;
  return before + gap->size + after >= size ? gap->size : 0;
}

bool arena_plan(struct arena *arena, uint64_t size, uint32_t stream, uint64_t wish,
                struct arena_segment *out) {
  const struct block *best = NULL;
  uint64_t least = 0;
  if (!size || size > arena->params.size)
    return false;
  size = units_up(size, ARENA_ROUND);
  for (const struct block *block = arena->first; block; block = block->after) {
    uint64_t need = block->kind == BLOCK_GAP ? need_of(arena, block, size, stream) : 0;
    if (!need || (best && need >= least))
      continue;
    best = block;
    least = need;
  }
  if (!best)
    return false;
  wish = units_up(units_min(wish, best->size), arena->params.granule);
  *out = (struct arena_segment){.start = best->start, .size = units_max(wish, least)};
  return true;
}

static struct block *find(const struct arena *arena, uint64_t start) {
  struct block *block = arena->first;
  while (block && block->start != start)
    block = block->after;
  return block;
}

static bool expect_segment(struct arena *arena) {
  if (arena->segment_count < arena->segment_room)
    return true;
  uint32_t room = arena->segment_room ? 2 * arena->segment_room : 64;
  struct arena_segment *segments =
      room <= ARENA_SEGMENTS ? realloc(arena->segments, room * sizeof *segments) : NULL;
  if (!segments)
    return false;
  arena->segments = segments;
  arena->segment_room = room;
  return true;
}

/* After expect_segment. */
static void enter(struct arena *arena, const struct arena_segment *segment) {
  uint32_t at = arena->segment_count++;
  for (; at && arena->segments[at - 1].start > segment->start; at--)
    arena->segments[at] = arena->segments[at - 1];
  arena->segments[at] = *segment;
  arena->reserved += segment->size;
}

bool arena_add(struct arena *arena, const struct arena_segment *segment, uint32_t stream) {
  struct block *gap = find(arena, segment->start);
  if (!gap || gap->kind != BLOCK_GAP || gap->size < segment->size || !expect_segment(arena) ||
      !block_expect(&arena->store, 1))
    return false;
  enter(arena, segment);
  if (gap->size > segment->size)
    (void)cut(arena, gap, segment->size);
  gap->stream = stream;
  set_free(arena, gap);
  return true;
}

/* The middle of a free piece leaves; what is beside it stays free. After block_expect. */
static void carve(struct arena *arena, struct block *block, const struct arena_segment *segment) {
  uint64_t ahead = segment->start - block->start;
  block_tree_take(&arena->store, block);
  if (ahead) {
    struct block *rest = cut(arena, block, ahead);
    block_tree_put(&arena->store, block);
    block = rest;
  }
  if (block->size > segment->size)
    block_tree_put(&arena->store, cut(arena, block, segment->size));
  block->kind = BLOCK_LEAVING;
}

static bool is_inside(const struct arena_segment *segment, const struct block *block) {
  return block->start <= segment->start &&
         segment->start + segment->size <= block->start + block->size;
}

bool arena_trim(struct arena *arena, uint64_t most, struct arena_segment *out) {
  struct block *block = arena->last;
  if (arena->waiting)
    end_waiting(arena);
  if (!block_expect(&arena->store, 2))
    return false;
  for (uint32_t i = arena->segment_count; i--;) {
    const struct arena_segment segment = arena->segments[i];
    while (block->start > segment.start)
      block = block->before;
    if (segment.size > most || block->kind != BLOCK_FREE || !is_inside(&segment, block))
      continue;
    carve(arena, block, &segment);
    arena->segment_count--;
    memmove(&arena->segments[i], &arena->segments[i + 1],
            (arena->segment_count - i) * sizeof *arena->segments);
    arena->reserved -= segment.size;
    *out = segment;
    return true;
  }
  return false;
}

void arena_keep(struct arena *arena, const struct arena_segment *segment) {
  struct block *block = find(arena, segment->start);
  if (!block || block->kind != BLOCK_LEAVING || !expect_segment(arena))
    return;
  enter(arena, segment);
  set_free(arena, block);
}

void arena_gone(struct arena *arena, uint64_t start) {
  struct block *block = find(arena, start);
  if (!block || block->kind != BLOCK_LEAVING)
    return;
  block->kind = BLOCK_GAP;
  block->mark = 0;
  if (are_one(block, block->after))
    swallow(arena, block, block->after);
  if (are_one(block->before, block))
    swallow(arena, block->before, block);
}

/* ---- looking ---- */

void arena_look(const struct arena *arena, struct arena_figures *out) {
  const struct block *block = arena->first;
  *out = (struct arena_figures){
      .reserved = arena->reserved, .used = arena->used, .segments = arena->segment_count};
  for (uint32_t i = 0; i < arena->segment_count; i++) {
    const struct arena_segment *segment = &arena->segments[i];
    while (block->start + block->size <= segment->start)
      block = block->after;
    out->empty += block->kind == BLOCK_FREE && is_inside(segment, block) ? segment->size : 0;
  }
  for (block = arena->first; block; block = block->after)
    out->blocks += block->kind == BLOCK_USED;
}

uint64_t arena_peak(struct arena *arena) {
  uint64_t peak = arena->peak;
  arena->peak = arena->used;
  return peak;
}

uint64_t arena_reserved(const struct arena *arena) { return arena->reserved; }

uint64_t arena_used(const struct arena *arena) { return arena->used; }

void arena_check(const struct arena *arena) {
  uint64_t at = arena->params.start, used = 0, held = 0, mapped = 0;
  uint32_t taken = 0;
  for (const struct block *block = arena->first; block; block = block->after) {
    assert(block->start == at && block->size && block->size % ARENA_ROUND == 0);
    assert(block->after ? block->after->before == block : arena->last == block);
    assert(!are_one(block, block->after));
    bool counts = block->kind == BLOCK_USED || block->kind == BLOCK_WAITING;
    used += counts ? block->size : 0;
    held += counts || block->kind == BLOCK_FREE ? block->size : 0;
    taken += block->kind == BLOCK_USED;
    assert(block->kind != BLOCK_USED || block_table_find(&arena->store, block->start) == block);
    at += block->size;
  }
  for (uint32_t i = 0; i < arena->segment_count; i++) {
    assert(!i ||
           arena->segments[i - 1].start + arena->segments[i - 1].size <= arena->segments[i].start);
    mapped += arena->segments[i].size;
  }
  assert(at == arena->params.start + arena->params.size && used == arena->used);
  assert(held == arena->reserved && mapped == held && taken == arena->store.used);
}
