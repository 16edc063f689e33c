/*
 * table: what the vault holds. Room for every descriptor that the process may have is reserved at
 * once, so keeping one more can never fail for want of memory. One thread.
 */
#ifndef VAULT_TABLE_H
#define VAULT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/vaultwire.h"

struct table {
  struct table_slot *slots; /* open addressing by id; a power of two of them */
  uint32_t mask, live, max;
  uint64_t bytes;     /* of all entries */
  uint64_t ledger[2]; /* identity; both 0: none is held */
};

/* Room for `max` entries and not one more. INTERNAL_ERROR: no address space. */
enum status table_init(struct table *table, uint32_t max);
/* Takes the share; what was held under the id is closed. False: full, the share stays the caller's.
 */
bool table_put(struct table *table, const struct vaultwire_entry *entry, struct share *share);
/* Closes it; false: there is none. */
bool table_drop(struct table *table, uint64_t id);
/* Up to VAULTWIRE_BATCH entries in slot order from `cursor` (0: from the start) into message and
 * shares (borrowed); message->cursor is where to go on, 0 at the end. */
void table_list(const struct table *table, uint64_t cursor, struct vaultwire *message,
                struct share *shares);
/* Closes all; it is empty then. */
void table_release(struct table *table);
/* The same, and gives its memory back. */
void table_done(struct table *table);

#endif
