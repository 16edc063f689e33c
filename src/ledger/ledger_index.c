/*
 * ledger_index: a hash table with linear probing, at most half full, from which nothing is removed.
 * Ids are counted; the multiplication (Knuth's Fibonacci hashing) spreads what is counted evenly,
 * so that ids of several ages, each of them dense, do not pile up on each other. Sorting a million
 * ids alone would take longer than all that adoption does (bench/bench_ledger.c).
 */
#include "ledger/ledger_index.h"

#include <stdlib.h>

#include "base/units.h"

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15) /* 2^64 / the golden ratio */

bool ledger_index_init(struct ledger_index *index, uint32_t count) {
  uint64_t size = units_power_up(2 * ((uint64_t)count + 1));
  index->entries = calloc(size, sizeof *index->entries);
  index->bits = (unsigned)__builtin_ctzll(size);
  return index->entries;
}

void ledger_index_done(struct ledger_index *index) {
  free(index->entries);
  *index = (struct ledger_index){0};
}

static struct ledger_index_entry *probe(const struct ledger_index *index, uint64_t id) {
  uint64_t at = id * GOLDEN >> (64 - index->bits), last = (UINT64_C(1) << index->bits) - 1;
  while (index->entries[at].slot && index->entries[at].id != id)
    at = (at + 1) & last;
  return &index->entries[at];
}

uint32_t *ledger_index_place(struct ledger_index *index, uint64_t id) {
  struct ledger_index_entry *entry = probe(index, id);
  entry->id = id;
  return &entry->slot;
}

uint32_t ledger_index_find(const struct ledger_index *index, uint64_t id) {
  return probe(index, id)->slot;
}
