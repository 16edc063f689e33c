/*
 * ledger_layout: the memfd as it lies, and the process's view of it. Private to this room.
 */
#ifndef LEDGER_LEDGER_LAYOUT_H
#define LEDGER_LEDGER_LAYOUT_H

#include "ledger/ledger.h"
#include "ledger/ledger_order.h"

#define LEDGER_MAGIC "MKLEDGER"
#define LEDGER_ID_STEP 4096 /* ids that one store of the header makes known as given out */
#define LEDGER_ID_BITS 48   /* counted ones; the rest is drawn per ledger */
#define LEDGER_MAP ((uint64_t)(LEDGER_MAX_RECORDS + UINT32_C(1)) * LEDGER_RECORD)

enum { LEDGER_STATE_FREE, LEDGER_STATE_LIVE };

/* In the place of slot 0. Nothing before next_id changes after ledger_create. */
struct ledger_header {
  char magic[8];
  uint32_t format, record_size;
  uint64_t identity[2];
  uint32_t crc, pad; /* ledger_header_crc */
  uint64_t next_id;  /* no id from here on was ever given out */
};
_Static_assert(sizeof(struct ledger_header) <= LEDGER_RECORD, "the header is one record long");

/* A free record begins like any other (state first); behind that is the list of free ones. */
struct ledger_unused {
  uint8_t state, pad[3];
  uint32_t next; /* 0: the last */
};

struct ledger {
  struct share share;
  struct ledger_header *header; /* the whole map begins here */
  uint32_t capacity;            /* slots 1 … capacity have pages */
  uint32_t grown;               /* what capacity will be; == capacity unless the ledger grows now */
  uint32_t top;                 /* slots above were never used */
  uint32_t free_head, live;
  uint64_t id_next, id_end;
  struct ledger_order by_id, by_place; /* from adoption to ledger_settle */
};

/* Over kind, version, id and contents; not over state and the advisory words. */
uint32_t ledger_crc(const struct ledger_record *record);
/* Over what stands before it. */
uint32_t ledger_header_crc(const struct ledger_header *header);

static inline struct ledger_record *ledger_slot(const struct ledger *ledger, uint32_t slot) {
  return (struct ledger_record *)ledger->header + slot;
}

static inline bool ledger_is_live(const struct ledger *ledger, uint32_t slot) {
  return __atomic_load_n(&ledger_slot(ledger, slot)->state, __ATOMIC_ACQUIRE) == LEDGER_STATE_LIVE;
}

#endif
