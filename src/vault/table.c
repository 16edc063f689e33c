/*
 * table: a hash table with linear probing and backward-shift deletion, so that there are no
 * tombstones: a vault that lives for months stays as fast as a new one. At most half full.
 */
#include "vault/table.h"

#include <string.h>
#include <sys/mman.h>

#include "base/units.h"

struct table_slot {
  uint64_t id, bytes;
  struct share share; /* SHARE_NONE: the slot is free */
};

enum status table_init(struct table *table, uint32_t max) {
  uint64_t slots = units_power_up(max ? 2 * (uint64_t)max : 1);
  void *memory = mmap(NULL, slots * sizeof *table->slots, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    return STATUS_INTERNAL_ERROR;
  *table = (struct table){.slots = memory, .mask = (uint32_t)(slots - 1), .max = max};
  return STATUS_OK;
}

/* Ids are counted, so a multiplication spreads them (Knuth's golden ratio). */
static uint32_t home(const struct table *table, uint64_t id) {
  return (uint32_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & table->mask;
}

static bool is_free(const struct table *table, uint32_t at) {
  return table->slots[at].share.kind == SHARE_NONE;
}

/* The slot of the id, or the free one where it would go. */
static uint32_t find(const struct table *table, uint64_t id) {
  uint32_t at = home(table, id);
  while (!is_free(table, at) && table->slots[at].id != id)
    at = (at + 1) & table->mask;
  return at;
}

bool table_put(struct table *table, const struct vaultwire_entry *entry, struct share *share) {
  uint32_t at = find(table, entry->id);
  struct table_slot *slot = &table->slots[at];
  if (is_free(table, at)) {
    if (table->live == table->max)
      return false;
    table->live++;
  } else {
    table->bytes -= slot->bytes;
    share_close(&slot->share);
  }
  *slot = (struct table_slot){entry->id, entry->bytes, *share};
  table->bytes += entry->bytes;
  *share = (struct share){.kind = SHARE_NONE};
  return true;
}

/* Closes the gap: whoever probed over it moves up, as long as that does not pass his home. */
static void close_gap(struct table *table, uint32_t gap) {
  for (uint32_t at = (gap + 1) & table->mask; !is_free(table, at); at = (at + 1) & table->mask) {
    uint32_t from_home = (at - home(table, table->slots[at].id)) & table->mask;
    if (from_home < ((at - gap) & table->mask))
      continue;
    table->slots[gap] = table->slots[at];
    table->slots[at].share.kind = SHARE_NONE;
    gap = at;
  }
}

bool table_drop(struct table *table, uint64_t id) {
  uint32_t at = find(table, id);
  if (is_free(table, at))
    return false;
  table->live--;
  table->bytes -= table->slots[at].bytes;
  share_close(&table->slots[at].share);
  close_gap(table, at);
  if (!id)
    memset(table->ledger, 0, sizeof table->ledger);
  return true;
}

void table_list(const struct table *table, uint64_t cursor, struct vaultwire *message,
                struct share *shares) {
  message->count = 0;
  message->cursor = 0;
  for (uint64_t at = cursor; at <= table->mask; at++) {
    const struct table_slot *slot = &table->slots[at];
    if (slot->share.kind == SHARE_NONE)
      continue;
    if (message->count == VAULTWIRE_BATCH) {
      message->cursor = at;
      return;
    }
    message->entries[message->count] = (struct vaultwire_entry){slot->id, slot->bytes};
    shares[message->count++] = slot->share;
  }
}

void table_release(struct table *table) {
  for (uint32_t at = 0; at <= table->mask; at++)
    if (!is_free(table, at))
      share_close(&table->slots[at].share);
  table->live = 0;
  table->bytes = 0;
  memset(table->ledger, 0, sizeof table->ledger);
}

void table_done(struct table *table) {
  table_release(table);
  munmap(table->slots, (table->mask + UINT64_C(1)) * sizeof *table->slots);
  table->slots = NULL;
}
