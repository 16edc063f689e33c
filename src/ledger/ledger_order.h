/*
 * ledger_order: records in an order, while a whole ledger is looked at: an array of entries that
 * are added and then sorted. Private to this room.
 */
#ifndef LEDGER_LEDGER_ORDER_H
#define LEDGER_LEDGER_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/idmap.h"

enum ledger_order_by { LEDGER_ORDER_ID = 8, LEDGER_ORDER_NOTE_ID = 12 }; /* bytes of the key */

struct ledger_order {
  struct idmap_entry *entries; /* `value` is the slot */
  uint32_t count, space;
};

/* Room for `space` entries, which the caller does not exceed; memory comes with use. False: no
 * memory. */
bool ledger_order_init(struct ledger_order *order, uint32_t space);
/* Harmless on a zeroed struct. */
void ledger_order_done(struct ledger_order *order);
static inline void ledger_order_add(struct ledger_order *order, struct idmap_entry entry) {
  order->entries[order->count++] = entry;
}
/* Entries that are equal stay as they stood. False: no memory. */
bool ledger_order_sort(struct ledger_order *order, enum ledger_order_by by);
/* One with this id, where ids rise; NULL: none. */
struct idmap_entry *ledger_order_find(const struct ledger_order *order, uint64_t id);

#endif
