/*
 * block: pieces of an address range, and where they are kept: all of them in order of addresses,
 * the free ones in a tree from which the smallest that is large enough comes, the others in a
 * table from which one comes by its address. Not thread-safe; no system call but for more room.
 */
#ifndef TORCH_BLOCK_H
#define TORCH_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

enum block_kind {
  BLOCK_GAP,     /* addresses without memory */
  BLOCK_FREE,    /* in the tree */
  BLOCK_USED,    /* in the table */
  BLOCK_WAITING, /* given back, and used by other streams still */
  BLOCK_LEAVING  /* on its way to the daemon */
};

struct block {
  uint64_t start, size;
  uint64_t mark;   /* not in use: the moment at which it was given back, see fence.h */
  uint64_t others; /* a bit for each stream that uses it beside its own */
  uint32_t stream; /* whose it is */
  uint32_t weight; /* in the tree */
  enum block_kind kind;
  struct block *before, *after; /* in order of addresses */
  struct block *left, *right;   /* in the tree */
  struct block *next;           /* in the table, the queue of who holds it, or among the spare */
};

struct block_store {
  struct block *root;
  struct block **table;
  struct block *spare;
  struct block_slab *slabs;
  uint32_t buckets, used; /* of the table */
  uint32_t made, chance;
};

/* False: no memory. */
bool block_store_init(struct block_store *store);
/* Everything that came from it is gone. Harmless on a zeroed struct. */
void block_store_done(struct block_store *store);
/* So many can be made without a failure; false: no memory, or there are too many (2^22). */
bool block_expect(struct block_store *store, uint32_t count);
/* Zeroed but for what is given; in no order, tree or table. Only after block_expect. */
struct block *block_make(struct block_store *store, uint64_t start, uint64_t size);
void block_drop(struct block_store *store, struct block *block);

/* The tree: by stream, then size, then address; none of them may change in there. */
void block_tree_put(struct block_store *store, struct block *block);
void block_tree_take(struct block_store *store, const struct block *block);
/* The smallest of this stream of at least `size` bytes, the lowest of these; NULL: none. */
struct block *block_tree_fit(const struct block_store *store, uint32_t stream, uint64_t size);

/* The table: by address. */
void block_table_put(struct block_store *store, struct block *block);
/* Takes it out; NULL: not there. */
struct block *block_table_take(struct block_store *store, uint64_t start);
struct block *block_table_find(const struct block_store *store, uint64_t start);

#endif
