/*
 * ledger: making and changing records. What a SIGKILL at any instruction leaves is what the stores
 * before it made, so only their order counts: a record is complete before its state says so, and is
 * dead before anything of it is written over. The fences here hold the compiler to that; between
 * processes the kernel does.
 *
 * Free records are chained through themselves, the last freed first, so a record that was just in
 * the cache is used again; slots that were never used are taken by count and cost no page.
 *
 * A crc is the lower half of XXH3-64.
 */
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/id.h"
#include "base/os_memfd.h"
#include "base/units.h"
#include "ledger/ledger_layout.h"

#define LEDGER_HASHED offsetof(struct ledger_record, last_access_real_ns)

uint32_t ledger_crc(const struct ledger_record *record) {
  struct ledger_record copy = *record;
  copy.state = 0;
  copy.crc = 0;
  return (uint32_t)XXH3_64bits(&copy, LEDGER_HASHED);
}

uint32_t ledger_header_crc(const struct ledger_header *header) {
  return (uint32_t)XXH3_64bits(header, offsetof(struct ledger_header, crc));
}

/* Stores before stay before, stores behind stay behind, as far as this process goes. */
static void in_order(void) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

static uint64_t bytes_for(uint32_t records) { return ((uint64_t)records + 1) * LEDGER_RECORD; }

/* ---- life ---- */

static enum status map_new(struct ledger *ledger, uint32_t records) {
  void *map;
  enum status status = os_memfd_create("memkeep-ledger", bytes_for(records), &ledger->share);
  if (!status)
    status = os_memfd_seal(&ledger->share, OS_MEMFD_SEAL_SHRINK);
  if (!status)
    status = os_memfd_commit(&ledger->share, 0, bytes_for(records));
  if (!status)
    status = os_memfd_map(&ledger->share, LEDGER_MAP, true, &map);
  if (!status)
    ledger->header = map;
  return status;
}

static void begin(struct ledger *ledger) {
  struct ledger_header made = {.format = LEDGER_VERSION, .record_size = LEDGER_RECORD};
  memcpy(made.magic, LEDGER_MAGIC, sizeof made.magic);
  do {
    made.identity[0] = id_random();
    made.identity[1] = id_random();
  } while (!(made.identity[0] | made.identity[1]));
  made.next_id = ledger->id_next;
  made.crc = ledger_header_crc(&made);
  *ledger->header = made;
}

enum status ledger_create(uint32_t records, struct ledger **out) {
  if (records > LEDGER_MAX_RECORDS)
    return STATUS_INSUFFICIENT_MEMORY;
  struct ledger *ledger = calloc(1, sizeof *ledger);
  if (!ledger)
    return STATUS_INTERNAL_ERROR;
  enum status status = map_new(ledger, records);
  if (status) {
    ledger_free(ledger);
    return status;
  }
  ledger->capacity = ledger->grown = records;
  ledger->id_next = ledger->id_end =
      ((id_random() >> LEDGER_ID_BITS) << LEDGER_ID_BITS) + UINT64_C(1);
  begin(ledger);
  *out = ledger;
  return STATUS_OK;
}

void ledger_free(struct ledger *ledger) {
  if (!ledger)
    return;
  ledger_settle(ledger);
  os_memfd_unmap(ledger->header, LEDGER_MAP);
  share_close(&ledger->share);
  free(ledger);
}

const struct idmap_entry *ledger_by_id(const struct ledger *ledger, uint32_t *count) {
  *count = ledger->by_id.count;
  return ledger->by_id.entries;
}

const struct idmap_entry *ledger_by_place(const struct ledger *ledger, uint32_t *count) {
  *count = ledger->by_place.count;
  return ledger->by_place.entries;
}

void ledger_settle(struct ledger *ledger) {
  ledger_order_done(&ledger->by_id);
  ledger_order_done(&ledger->by_place);
}

const struct share *ledger_share(const struct ledger *ledger) { return &ledger->share; }

void ledger_identity(const struct ledger *ledger, uint64_t out[2]) {
  memcpy(out, ledger->header->identity, sizeof ledger->header->identity);
}

uint64_t ledger_next_id(struct ledger *ledger) {
  if (ledger->id_next == ledger->id_end) {
    ledger->id_end += LEDGER_ID_STEP;
    __atomic_store_n(&ledger->header->next_id, ledger->id_end, __ATOMIC_RELEASE);
    in_order();
  }
  return ledger->id_next++;
}

/* ---- records ---- */

static uint32_t take_slot(struct ledger *ledger) {
  uint32_t slot = ledger->free_head;
  if (slot)
    ledger->free_head = ((const struct ledger_unused *)ledger_slot(ledger, slot))->next;
  else if (ledger->top < ledger->capacity)
    slot = ++ledger->top;
  if (slot)
    ledger->live++;
  return slot;
}

static enum status put(struct ledger *ledger, const struct ledger_record *record, uint32_t version,
                       uint32_t *out) {
  uint32_t slot = take_slot(ledger);
  if (!slot)
    return STATUS_INSUFFICIENT_MEMORY;
  struct ledger_record made = *record, *place = ledger_slot(ledger, slot);
  made.state = LEDGER_STATE_FREE;
  made.version = version;
  made.crc = ledger_crc(&made);
  *place = made;
  in_order();
  __atomic_store_n(&place->state, LEDGER_STATE_LIVE, __ATOMIC_RELEASE);
  *out = slot;
  return STATUS_OK;
}

enum status ledger_put(struct ledger *ledger, const struct ledger_record *record, uint32_t *slot) {
  return put(ledger, record, 1, slot);
}

enum status ledger_replace(struct ledger *ledger, uint32_t *slot,
                           const struct ledger_record *record) {
  uint32_t old = *slot;
  enum status status = put(ledger, record, ledger_slot(ledger, old)->version + 1, slot);
  if (!status) {
    in_order();
    ledger_drop(ledger, old);
  }
  return status;
}

void ledger_drop(struct ledger *ledger, uint32_t slot) {
  struct ledger_unused *unused = (struct ledger_unused *)ledger_slot(ledger, slot);
  __atomic_store_n(&unused->state, LEDGER_STATE_FREE, __ATOMIC_RELEASE);
  in_order();
  unused->next = ledger->free_head;
  ledger->free_head = slot;
  ledger->live--;
}

const struct ledger_record *ledger_at(const struct ledger *ledger, uint32_t slot) {
  return ledger_slot(ledger, slot);
}

void ledger_touch(struct ledger *ledger, uint32_t slot, uint64_t real_ns) {
  struct ledger_record *record = ledger_slot(ledger, slot);
  __atomic_store_n(&record->last_access_real_ns, real_ns, __ATOMIC_RELAXED);
  __atomic_store_n(&record->access_count, record->access_count + 1, __ATOMIC_RELAXED);
}

uint32_t ledger_next(const struct ledger *ledger, uint32_t slot) {
  while (slot++ < ledger->top)
    if (ledger_is_live(ledger, slot))
      return slot;
  return 0;
}

uint32_t ledger_free_slots(const struct ledger *ledger) { return ledger->capacity - ledger->live; }

uint32_t ledger_live(const struct ledger *ledger) { return ledger->live; }

/* ---- growing ---- */

enum status ledger_grow(struct ledger *ledger, uint32_t records) {
  if (records > LEDGER_MAX_RECORDS - ledger->grown)
    return STATUS_INSUFFICIENT_MEMORY;
  uint64_t from = bytes_for(ledger->grown);
  enum status status = os_memfd_commit(&ledger->share, from, (uint64_t)records * LEDGER_RECORD);
  if (!status)
    ledger->grown += records;
  return status;
}

void ledger_grow_commit(struct ledger *ledger) { ledger->capacity = ledger->grown; }

/* ---- texts ---- */

static struct ledger_record piece_of(struct ledger *ledger, const char *text, size_t n) {
  struct ledger_record record = {.kind = LEDGER_TEXT_CHAIN, .id = ledger_next_id(ledger)};
  record.u.text.size = (uint8_t)n;
  memcpy(record.u.text.bytes, text, n);
  return record;
}

static void drop_texts(struct ledger *ledger, uint32_t slot) {
  for (uint32_t next; slot; slot = next) {
    next = ledger_next_text(ledger, slot);
    ledger_drop(ledger, slot);
  }
}

/* The last piece first, so that what is live names live pieces only. A text record has no use for
 * the advisory words: the first keeps the slot of the next piece, as a hint. */
enum status ledger_put_text(struct ledger *ledger, const char *text, size_t n, uint64_t *id,
                            uint32_t *slot) {
  size_t pieces = n ? (n + LEDGER_TEXT - 1) / LEDGER_TEXT : 1;
  uint64_t next = 0;
  uint32_t next_slot = 0;
  while (pieces--) {
    size_t at = pieces * LEDGER_TEXT, size = units_min(n - at, LEDGER_TEXT);
    struct ledger_record record = piece_of(ledger, text + at, size);
    record.u.text.next = next;
    record.last_access_real_ns = next_slot;
    uint32_t made;
    enum status status = ledger_put(ledger, &record, &made);
    if (status) {
      drop_texts(ledger, next_slot);
      return status;
    }
    next = record.id;
    next_slot = made;
  }
  *id = next;
  *slot = next_slot;
  return STATUS_OK;
}

uint32_t ledger_next_text(const struct ledger *ledger, uint32_t slot) {
  return (uint32_t)ledger_slot(ledger, slot)->last_access_real_ns;
}
