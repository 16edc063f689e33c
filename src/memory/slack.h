/*
 * slack: what a balanced defragmentation (memory/defrag) would give back of one owner's slabs, by
 * their figures alone: no block is looked at, so it costs little to ask often. Blocks and holes
 * count as if they were as large as they are on average: where they differ much, less may come
 * back. Pure.
 */
#ifndef MEMORY_SLACK_H
#define MEMORY_SLACK_H

#include <stdbool.h>
#include <stdint.h>

struct slack_slab {
  uint64_t size, used, allocated; /* bytes; used: what its blocks take, allocated: what was asked */
  uint32_t blocks, holes;         /* at least one block; holes: free ranges */
  bool fixed;                     /* a block may not move */
};
struct slack {
  uint64_t bytes;
  uint32_t slabs;
};

/* Their order and figures are lost. O(n log n). */
struct slack slack_of(struct slack_slab *slabs, uint32_t count);

#endif
