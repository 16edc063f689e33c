/*
 * ledger_index: from ids to slots, while a whole ledger is looked at. Private to this room.
 */
#ifndef LEDGER_LEDGER_INDEX_H
#define LEDGER_LEDGER_INDEX_H

#include <stdbool.h>
#include <stdint.h>

struct ledger_index_entry {
  uint64_t id;
  uint32_t slot; /* 0: no entry */
};

struct ledger_index {
  struct ledger_index_entry *entries;
  unsigned bits; /* there are 2^bits entries */
};

/* Room for `count` ids, which the caller does not exceed. False: no memory. */
bool ledger_index_init(struct ledger_index *index, uint32_t count);
/* Harmless on a zeroed struct. */
void ledger_index_done(struct ledger_index *index);
/* Where the slot of `id` is kept; it reads 0 when the id is new, and the caller writes it then.
 * Valid for as long as the index. */
uint32_t *ledger_index_place(struct ledger_index *index, uint64_t id);
/* 0: not there. */
uint32_t ledger_index_find(const struct ledger_index *index, uint64_t id);

#endif
