/*
 * bench_torch: what PyTorch allocated and freed (bench/record_torch.py), replayed over the books of
 * libmemkeep_torch, without a card and without a daemon.
 *
 *   torch.NAME.operations               of the trace
 *   torch.NAME.requested_bytes          at their peak
 *   torch.NAME.reserved_bytes           ours at its peak
 *   torch.NAME.rule_bytes               the same by the rule of PyTorch's caching allocator,
 * SIMULATED here as its documentation has it: it is not PyTorch torch.NAME.segments ours at the end
 *   torch.NAME.ns                       for an operation, ours; the best of several rounds
 *   torch.same_block_ns                 64 MiB taken and given back
 */
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "torch/arena.h"
#include "torch/vram.h"

#define EVENTS 200000
#define RANGE (UINT64_C(1) << 40)
#define ROUNDS 9
#define PAIRS 200000

/* [i] > 0: an allocation of so many bytes; else the number of the one that is freed, negated. */
struct trace {
  int64_t events[EVENTS];
  uint64_t sizes[EVENTS], starts[EVENTS]; /* by number, from 1 on */
  int64_t count, allocations;
};

static struct trace trace;

static void read_trace(const char *path) {
  char line[256];
  FILE *file = fopen(path, "r");
  trace.count = trace.allocations = 0;
  while (file && fgets(line, sizeof line, file) && trace.count < EVENTS) {
    int64_t value = strtoll(line, NULL, 10);
    if (value > 0)
      trace.sizes[++trace.allocations] = (uint64_t)value;
    if (value < 0)
      value = -(trace.allocations + 1 + value);
    if (value)
      trace.events[trace.count++] = value;
  }
  if (file)
    fclose(file);
}

static uint64_t requested_peak(void) {
  uint64_t now = 0, peak = 0, number = 0;
  for (int64_t i = 0; i < trace.count; i++) {
    now += trace.events[i] > 0 ? trace.sizes[++number] : -trace.sizes[-trace.events[i]];
    peak = units_max(peak, now);
  }
  return peak;
}

/* ---- ours ---- */

static uint64_t no_mark(void *ctx, uint32_t stream, uint64_t others) {
  (void)ctx;
  (void)stream;
  (void)others;
  return 0;
}

static bool all_passed(void *ctx, uint32_t stream, uint64_t mark) {
  (void)ctx;
  (void)stream;
  (void)mark;
  return true;
}

static struct arena *make_arena(unsigned kind) {
  return arena_create(&(struct arena_params){.start = (kind + 1) * RANGE,
                                             .size = RANGE,
                                             .granule = 2 * MIB,
                                             .clock = {no_mark, all_passed, NULL}});
}

static uint64_t grow(struct arena *arena, uint64_t size) {
  struct arena_segment segment;
  if (!arena_plan(arena, size, 0, vram_wish(size, arena_reserved(arena)), &segment) ||
      !arena_add(arena, &segment, 0))
    abort();
  return arena_take(arena, size, 0);
}

/* Nanoseconds for all of it. */
static uint64_t replay(struct arena *const arenas[2]) {
  uint64_t began = clock_now(), number = 0;
  for (int64_t i = 0; i < trace.count; i++) {
    if (trace.events[i] < 0) {
      uint64_t start = trace.starts[-trace.events[i]];
      arena_give(arenas[start >= 2 * RANGE], start);
      continue;
    }
    uint64_t size = trace.sizes[++number], start;
    struct arena *arena = arenas[size > VRAM_SMALL];
    start = arena_take(arena, size, 0);
    trace.starts[number] = start ? start : grow(arena, size);
  }
  return clock_now() - began;
}

/* Segments are made in the first round only, for it is the daemon that takes time for that. */
static void measure_ours(const char *name) {
  struct arena *const arenas[2] = {make_arena(0), make_arena(1)};
  struct arena_figures small, large;
  uint64_t best = UINT64_MAX, freed;
  replay(arenas);
  arena_look(arenas[0], &small);
  arena_look(arenas[1], &large);
  for (unsigned i = 0; i < ROUNDS; i++) {
    freed = 0; /* what the trace leaves goes first, as at its beginning */
    for (int64_t n = 1; n <= trace.allocations; n++)
      freed += arena_give(arenas[trace.starts[n] >= 2 * RANGE], trace.starts[n]);
    best = units_min(best, replay(arenas));
  }
  printf("torch.%s.reserved_bytes=%" PRIu64 "\n", name, small.reserved + large.reserved);
  printf("torch.%s.segments=%" PRIu64 "\n", name, small.segments + large.segments);
  printf("torch.%s.ns=%.1f\n", name, (double)best / (double)trace.count);
  arena_free(arenas[0]);
  arena_free(arenas[1]);
}

static void measure_same_block(void) {
  struct arena *arena = make_arena(1);
  uint64_t best = UINT64_MAX;
  arena_give(arena, grow(arena, 64 * MIB));
  for (unsigned round = 0; round < ROUNDS; round++) {
    uint64_t began = clock_now();
    for (unsigned i = 0; i < PAIRS; i++)
      arena_give(arena, arena_take(arena, 64 * MIB, 0));
    best = units_min(best, clock_now() - began);
  }
  printf("torch.same_block_ns=%.1f\n", (double)best / PAIRS);
  arena_free(arena);
}

/* ---- the rule of the caching allocator, simulated ---- */

struct piece {
  uint64_t size;
  bool free, small, first; /* first: of its segment; the next in the array follows it in there */
};

static struct piece *pieces;
static size_t piece_count;
static size_t *piece_of; /* by number */

static void make_place(size_t at) {
  memmove(&pieces[at + 1], &pieces[at], (piece_count - at) * sizeof *pieces);
  piece_count++;
  for (int64_t i = 1; i <= trace.allocations; i++)
    piece_of[i] += piece_of[i] != SIZE_MAX && piece_of[i] >= at;
}

static void drop_place(size_t at) {
  piece_count--;
  memmove(&pieces[at], &pieces[at + 1], (piece_count - at) * sizeof *pieces);
  for (int64_t i = 1; i <= trace.allocations; i++)
    piece_of[i] -= piece_of[i] != SIZE_MAX && piece_of[i] > at;
}

/* Returns the bytes of a new segment, if one was needed. */
static uint64_t rule_take(uint64_t number) {
  uint64_t size = units_up(trace.sizes[number], 512), made = 0;
  bool small = size <= MIB;
  size_t best = SIZE_MAX;
  for (size_t i = 0; i < piece_count; i++)
    if (pieces[i].free && pieces[i].small == small && pieces[i].size >= size &&
        (best == SIZE_MAX || pieces[i].size < pieces[best].size))
      best = i;
  if (best == SIZE_MAX) {
    made = small ? 2 * MIB : size < 10 * MIB ? 20 * MIB : units_up(size, 2 * MIB);
    best = piece_count++;
    pieces[best] = (struct piece){made, true, small, true};
  }
  uint64_t rest = pieces[best].size - size;
  if (small ? rest >= 512 : rest > MIB) {
    make_place(best + 1);
    pieces[best + 1] = (struct piece){rest, true, small, false};
    pieces[best].size = size;
  }
  pieces[best].free = false;
  piece_of[number] = best;
  return made;
}

static void rule_give(uint64_t number) {
  size_t at = piece_of[number];
  piece_of[number] = SIZE_MAX;
  pieces[at].free = true;
  if (at + 1 < piece_count && !pieces[at + 1].first && pieces[at + 1].free) {
    pieces[at].size += pieces[at + 1].size;
    drop_place(at + 1);
  }
  if (!pieces[at].first && pieces[at - 1].free) {
    pieces[at - 1].size += pieces[at].size;
    drop_place(at);
  }
}

static void measure_rule(const char *name) {
  uint64_t reserved = 0, number = 0;
  pieces = calloc(2 * (size_t)trace.allocations + 2, sizeof *pieces);
  piece_of = malloc(((size_t)trace.allocations + 1) * sizeof *piece_of);
  memset(piece_of, 0xff, ((size_t)trace.allocations + 1) * sizeof *piece_of);
  piece_count = 0;
  for (int64_t i = 0; i < trace.count; i++) {
    if (trace.events[i] > 0)
      reserved += rule_take(++number);
    else
      rule_give((uint64_t)-trace.events[i]);
  }
  printf("torch.%s.rule_bytes=%" PRIu64 "\n", name, reserved);
  free(pieces);
  free(piece_of);
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    read_trace(argv[i]);
    char *name = basename(argv[i]);
    name[strcspn(name, ".")] = '\0';
    printf("torch.%s.operations=%" PRId64 "\n", name, trace.count);
    printf("torch.%s.requested_bytes=%" PRIu64 "\n", name, requested_peak());
    measure_ours(name);
    measure_rule(name);
  }
  measure_same_block();
  return 0;
}
