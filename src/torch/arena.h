/*
 * arena: who has which bytes of a range of addresses. Segments of memory are mapped into it, next
 * to each other where that helps, and taken out again; what is asked for may lie over several. The
 * smallest free piece that is large enough is taken, given pieces join with free ones beside them.
 *
 * A stream's pieces are its own again at once. Another stream gets them when what they were used
 * for is over, which struct arena_clock knows. Pure: no driver, no daemon. Not thread-safe.
 */
#ifndef TORCH_ARENA_H
#define TORCH_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#define ARENA_ROUND UINT64_C(512) /* sizes and addresses are multiples of it */
#define ARENA_STREAMS 64          /* numbers of streams are below */

struct arena;

struct arena_clock {
  /* Now, as the stream and those of `others` (a bit for each) will remember it. Not falling. */
  uint64_t (*mark)(void *ctx, uint32_t stream, uint64_t others);
  /* Whether the stream has done all that it was told before. True for 0. */
  bool (*passed)(void *ctx, uint32_t stream, uint64_t mark);
  void *ctx;
};

struct arena_params {
  uint64_t start, size; /* the range; multiples of granule */
  uint64_t granule;     /* of segments; a power of two */
  struct arena_clock clock;
};

struct arena_segment {
  uint64_t start, size;
  void *memory; /* the caller's */
};

struct arena_figures {
  uint64_t reserved; /* Σ sizes of segments */
  uint64_t used;     /* Σ sizes of what is taken, rounded up; with what waits for other streams */
  uint64_t empty;    /* Σ sizes of segments in which nothing is */
  uint64_t blocks, segments;
};

/* NULL: no memory. The range holds nothing yet. */
struct arena *arena_create(const struct arena_params *params);
/* NULL is fine. */
void arena_free(struct arena *arena);

/* Its address; 0: there is no such piece for this stream now. O(log pieces). */
uint64_t arena_take(struct arena *arena, uint64_t size, uint32_t stream);
/* False: nothing was taken at this address. */
bool arena_give(struct arena *arena, uint64_t start);
/* Another stream uses it too: after arena_give it is nobody's until that is over. False: as above.
 */
bool arena_share(struct arena *arena, uint64_t start, uint32_t stream);

/* Makes the free pieces of all streams that are done with them this one's. */
void arena_adopt(struct arena *arena, uint32_t stream);
/* Where a segment should be mapped so that arena_take of `size` finds room, and how large it must
 * be; `wish` bytes if the gap has them. False: the range is full. After arena_adopt. */
bool arena_plan(struct arena *arena, uint64_t size, uint32_t stream, uint64_t wish,
                struct arena_segment *out);
/* It is mapped; for this stream. The place is as planned, or the beginning of that. False: no
 * memory for the books. */
bool arena_add(struct arena *arena, const struct arena_segment *segment, uint32_t stream);
/* Takes an empty segment of at most `most` bytes out, the highest: it is to be unmapped when the
 * card has done all that it was told so far. False: there is none. */
bool arena_trim(struct arena *arena, uint64_t most, struct arena_segment *out);
/* What arena_trim took out stays after all, mapped and empty. */
void arena_keep(struct arena *arena, const struct arena_segment *segment);
/* What arena_trim took out is unmapped: its addresses may be used again. */
void arena_gone(struct arena *arena, uint64_t start);

/* O(pieces). */
void arena_look(const struct arena *arena, struct arena_figures *out);
/* The most that was used since the last call; then it counts anew. */
uint64_t arena_peak(struct arena *arena);
uint64_t arena_reserved(const struct arena *arena);
uint64_t arena_used(const struct arena *arena);
/* Aborts unless the books add up; for tests. */
void arena_check(const struct arena *arena);

#endif
