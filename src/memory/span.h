/*
 * span: an offset allocator. It hands out ranges of one segment (0 … size) without ever touching
 * the memory itself: all metadata is outside. Two-level segregated fit: first level = power of two,
 * second level = 16 linear steps within it; a bit map per level finds a fitting bin in constant
 * time; freed neighbours are merged.
 *
 * Source: M. Masmano et al., "TLSF: a new dynamic memory allocator for real-time systems", ECRTS
 * 2004.
 *
 * Offsets and sizes are bytes, multiples of the granule given at init. Blocks are named by a 32-bit
 * node index that stays valid until the block is given back; each carries a 32-bit user value (the
 * allocation's index). Not thread-safe; no system call but in the node pool's init (nodes of all
 * spans come from one shared `struct pool`).
 */
#ifndef MEMORY_SPAN_H
#define MEMORY_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/status.h"

#define SPAN_CROWD                                                                                 \
  4096               /* with as many blocks their nodes no longer stay in the cache, and up to     \
                      */
#define SPAN_LATE 16 /* blocks that were given back wait to be merged; no call shows it */

struct span; /* ~4 KiB, malloced */

struct span_block {
  uint64_t offset, size;
  uint32_t user; /* 0 for free ranges */
  bool used;
};

/* The pool that spans share: max nodes = live blocks + free ranges of all spans together, and twice
 * SPAN_LATE for each that has SPAN_CROWD blocks. */
enum status span_nodes_init(struct pool *nodes, uint32_t max);

/* granule: a power of two >= 1; size a multiple of it. `nodes` is borrowed and outlives the span.
 */
enum status span_create(struct pool *nodes, uint64_t size, uint64_t granule, struct span **out);
/* Gives all its nodes back to the pool. */
void span_free(struct span *span);
/* The same where the pool goes too: its nodes stay in it. */
void span_forget(struct span *span);

/* A range of at least `size` bytes (rounded up to the granule) at a multiple of `alignment` (power
 * of two). INSUFFICIENT_MEMORY: no free range is that long (or the node pool is empty). user must
 * not be 0. */
struct span_request {
  uint64_t size, alignment;
  uint32_t user;
};
enum status span_take(struct span *span, const struct span_request *request, uint32_t *node,
                      uint64_t *offset);
/* Takes exactly this range, for recovery and for planned moves; CONFLICT if part of it is used or
 * beyond the end. */
enum status span_take_at(struct span *span, uint64_t offset, const struct span_request *request,
                         uint32_t *node);
/* The index is no longer valid then. Giving it again is a bug that an assert catches, up to
 * SPAN_LATE gives later, unless the node is in use anew. */
void span_give(struct span *span, uint32_t index);

uint64_t span_size(const struct span *span);
uint64_t span_used(struct span *span); /* bytes in used blocks, granule included */
uint32_t span_blocks(const struct span *span);
uint32_t span_free_ranges(struct span *span);
/* Exact length of the longest free range. O(ranges of the highest non-empty bin). */
uint64_t span_largest_free(struct span *span);
/* Whether a request of this size and alignment surely fits; constant time, may say no for a fit
 * that span_take's last resort (a walk through one bin) would find. */
bool span_may_fit(struct span *span, uint64_t size, uint64_t alignment);
struct span_block span_block_at(const struct span *span, uint32_t index);
void span_set_user(struct span *span, uint32_t index, uint32_t user);
/* Walks all blocks and free ranges by address: start with index 0, ends when it returns 0. */
uint32_t span_next(struct span *span, uint32_t index, struct span_block *out);
/* Every invariant; false with a debug log otherwise. O(blocks). For tests and debug builds. */
bool span_check(struct span *span);

#endif
