/*
 * block: the tree is a treap, whose shape is a matter of chance and so never a bad one; the table
 * grows by doubling when more blocks are made, so that nothing that follows can fail.
 */
#include "torch/block.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_SLAB 256
#define BLOCK_MOST (UINT32_C(1) << 22)
#define BLOCK_SHIFT 9 /* addresses are multiples of 512 */

struct block_slab {
  struct block_slab *next;
  struct block blocks[BLOCK_SLAB];
};

bool block_store_init(struct block_store *store) {
  *store = (struct block_store){.buckets = BLOCK_SLAB, .chance = 2463534242};
  store->table = calloc(store->buckets, sizeof(void *));
  return store->table;
}

void block_store_done(struct block_store *store) {
  struct block_slab *next;
  for (struct block_slab *slab = store->slabs; slab; slab = next) {
    next = slab->next;
    free(slab);
  }
  free(store->table);
  *store = (struct block_store){.root = NULL};
}

/* ---- room ---- */

static struct block **bucket_of(const struct block_store *store, uint64_t start) {
  uint64_t mixed = (start >> BLOCK_SHIFT) * UINT64_C(0x9e3779b97f4a7c15);
  return &store->table[(mixed >> 32) & (store->buckets - 1)];
}

static bool widen(struct block_store *store) {
  uint32_t buckets = store->buckets;
  struct block **old = store->table, **table = calloc(2 * (size_t)buckets, sizeof(void *));
  if (!table)
    return false;
  store->table = table;
  store->buckets *= 2;
  for (uint32_t i = 0; i < buckets; i++)
    for (struct block *block = old[i], *next; block; block = next) {
      struct block **bucket = bucket_of(store, block->start);
      next = block->next;
      block->next = *bucket;
      *bucket = block;
    }
  free(old);
  return true;
}

static bool add_slab(struct block_store *store) {
  if (store->made >= BLOCK_MOST || (store->made >= store->buckets && !widen(store)))
    return false;
  struct block_slab *slab = malloc(sizeof *slab);
  if (!slab)
    return false;
  slab->next = store->slabs;
  store->slabs = slab;
  store->made += BLOCK_SLAB;
  for (unsigned i = 0; i < BLOCK_SLAB; i++)
    block_drop(store, &slab->blocks[i]);
  return true;
}

bool block_expect(struct block_store *store, uint32_t count) {
  const struct block *block = store->spare;
  for (; count && block; count--)
    block = block->next;
  return !count || add_slab(store);
}

struct block *block_make(struct block_store *store, uint64_t start, uint64_t size) {
  struct block *block = store->spare;
  store->spare = block->next;
  *block = (struct block){.start = start, .size = size};
  return block;
}

void block_drop(struct block_store *store, struct block *block) {
  block->next = store->spare;
  store->spare = block;
}

/* ---- the tree ---- */

static int compare(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

static bool is_before(const struct block *a, const struct block *b) {
  int order = compare(a->stream, b->stream);
  if (!order)
    order = compare(a->size, b->size);
  return (order ? order : compare(a->start, b->start)) < 0;
}

/* What comes before `at` goes left. */
static void split(struct block *tree, const struct block *at, struct block **left,
                  struct block **right) {
  while (tree) {
    if (is_before(tree, at)) {
      *left = tree;
      left = &tree->right;
      tree = tree->right;
    } else {
      *right = tree;
      right = &tree->left;
      tree = tree->left;
    }
  }
  *left = *right = NULL;
}

/* All of `left` comes before all of `right`. */
static struct block *join(struct block *left, struct block *right) {
  struct block *tree, **to = &tree;
  while (left && right) {
    if (left->weight > right->weight) {
      *to = left;
      to = &left->right;
      left = left->right;
    } else {
      *to = right;
      to = &right->left;
      right = right->left;
    }
  }
  *to = left ? left : right;
  return tree;
}

static uint32_t draw(struct block_store *store) { /* Marsaglia's xorshift */
  store->chance ^= store->chance << 13;
  store->chance ^= store->chance >> 17;
  store->chance ^= store->chance << 5;
  return store->chance;
}

void block_tree_put(struct block_store *store, struct block *block) {
  struct block **place = &store->root;
  block->weight = draw(store);
  while (*place && (*place)->weight >= block->weight)
    place = is_before(*place, block) ? &(*place)->right : &(*place)->left;
  split(*place, block, &block->left, &block->right);
  *place = block;
}

void block_tree_take(struct block_store *store, const struct block *block) {
  struct block **place = &store->root;
  while (*place != block)
    place = is_before(*place, block) ? &(*place)->right : &(*place)->left;
  *place = join(block->left, block->right);
}

struct block *block_tree_fit(const struct block_store *store, uint32_t stream, uint64_t size) {
  const struct block wanted = {.stream = stream, .size = size};
  struct block *found = NULL;
  for (struct block *block = store->root; block;) {
    bool before = is_before(block, &wanted);
    found = before ? found : block;
    block = before ? block->right : block->left;
  }
  return found && found->stream == stream ? found : NULL;
}

/* ---- the table ---- */

void block_table_put(struct block_store *store, struct block *block) {
  struct block **bucket = bucket_of(store, block->start);
  block->next = *bucket;
  *bucket = block;
  store->used++;
}

struct block *block_table_find(const struct block_store *store, uint64_t start) {
  struct block *block = *bucket_of(store, start);
  while (block && block->start != start)
    block = block->next;
  return block;
}

struct block *block_table_take(struct block_store *store, uint64_t start) {
  struct block **link = bucket_of(store, start);
  while (*link && (*link)->start != start)
    link = &(*link)->next;
  struct block *block = *link;
  if (block) {
    *link = block->next;
    store->used--;
  }
  return block;
}
