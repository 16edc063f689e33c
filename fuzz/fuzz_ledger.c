/* fuzz_ledger: any bytes as a ledger, once as they are and once with every checksum set right, so
 * that what the checksums keep out is seen too. What is refused is unchanged. What is adopted keeps
 * what the header promises, judged here one record against the other; its overlaps are judged
 * likewise; every free slot can be used, once; and an heir of the heir finds the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/os_memfd.h"
#include "ledger/ledger.h"
#include "ledger/ledger_layout.h"

#define MAX_BYTES ((size_t)65 * LEDGER_RECORD) /* records are compared each with each */

static void must(bool holds) {
  if (!holds)
    abort();
}

static void mend(uint8_t *bytes, size_t size) {
  if (size < LEDGER_RECORD)
    return;
  struct ledger_header *header = (struct ledger_header *)bytes;
  struct ledger_record *records = (struct ledger_record *)bytes;
  header->crc = ledger_header_crc(header);
  for (size_t slot = 1; slot < size / LEDGER_RECORD; slot++)
    records[slot].crc = ledger_crc(&records[slot]);
}

/* ---- what an adopted one must be ---- */

static uint32_t slot_of(const struct ledger *ledger, uint64_t id, enum ledger_kind kind) {
  for (uint32_t slot = ledger_next(ledger, 0); slot; slot = ledger_next(ledger, slot))
    if (ledger_at(ledger, slot)->id == id && ledger_at(ledger, slot)->kind == kind)
      return slot;
  return 0;
}

/* Walks to the end, and counts how often each piece is passed. */
static void walk_text(const struct ledger *ledger, uint64_t id, uint8_t *passed) {
  uint32_t slot = slot_of(ledger, id, LEDGER_TEXT_CHAIN);
  must(!id || slot);
  for (; slot; slot = ledger_next_text(ledger, slot)) {
    must(ledger_is_live(ledger, slot));
    must(ledger_at(ledger, slot)->kind == LEDGER_TEXT_CHAIN);
    must(ledger_at(ledger, slot)->u.text.size <= LEDGER_TEXT);
    must(!passed[slot]++);
  }
}

static void judge_record(const struct ledger *ledger, uint32_t slot, uint8_t *passed) {
  const struct ledger_record *record = ledger_at(ledger, slot);
  const struct ledger_allocation *allocation = &record->u.allocation;
  const struct ledger_attachment *attachment = &record->u.attachment;
  switch (record->kind) {
  case LEDGER_ALLOCATION:
    must(slot_of(ledger, allocation->segment, LEDGER_SEGMENT));
    must(slot_of(ledger, allocation->owner, LEDGER_OWNER));
    walk_text(ledger, allocation->text, passed);
    break;
  case LEDGER_ATTACHMENT:
    must(slot_of(ledger, attachment->allocation, LEDGER_ALLOCATION));
    must(slot_of(ledger, attachment->owner, LEDGER_OWNER));
    break;
  case LEDGER_OWNER:
    walk_text(ledger, record->u.owner.text, passed);
    break;
  case LEDGER_LIMIT:
    walk_text(ledger, record->u.limit.text, passed);
    break;
  default:
    must(record->kind > LEDGER_FREE && record->kind <= LEDGER_TEXT_CHAIN);
  }
}

static void judge(const struct ledger *ledger) {
  uint8_t passed[MAX_BYTES / LEDGER_RECORD] = {0};
  uint32_t live = 0;
  for (uint32_t slot = ledger_next(ledger, 0); slot; slot = ledger_next(ledger, slot)) {
    judge_record(ledger, slot, passed);
    for (uint32_t other = ledger_next(ledger, slot); other; other = ledger_next(ledger, other))
      must(ledger_at(ledger, slot)->id != ledger_at(ledger, other)->id);
    live++;
  }
  must(live == ledger_live(ledger));
}

/* ---- places ---- */

static bool is_in_segment(const struct ledger *ledger, const struct ledger_allocation *place) {
  uint32_t slot = slot_of(ledger, place->segment, LEDGER_SEGMENT);
  uint64_t end;
  return slot && place->size_bytes &&
         !__builtin_add_overflow(place->offset_bytes, place->size_bytes, &end) &&
         end <= ledger_at(ledger, slot)->u.segment.size_bytes;
}

static bool is_apart(const struct ledger_allocation *a, const struct ledger_allocation *b) {
  return a->segment != b->segment || a->offset_bytes + a->size_bytes <= b->offset_bytes ||
         b->offset_bytes + b->size_bytes <= a->offset_bytes;
}

/* The next allocation behind a slot, 0 at the end. */
static uint32_t next_place(const struct ledger *ledger, uint32_t slot) {
  do
    slot = ledger_next(ledger, slot);
  while (slot && ledger_at(ledger, slot)->kind != LEDGER_ALLOCATION);
  return slot;
}

static bool places_are_good(const struct ledger *ledger) {
  for (uint32_t slot = next_place(ledger, 0); slot; slot = next_place(ledger, slot))
    if (!is_in_segment(ledger, &ledger_at(ledger, slot)->u.allocation))
      return false;
  for (uint32_t slot = next_place(ledger, 0); slot; slot = next_place(ledger, slot))
    for (uint32_t other = next_place(ledger, slot); other; other = next_place(ledger, other))
      if (!is_apart(&ledger_at(ledger, slot)->u.allocation,
                    &ledger_at(ledger, other)->u.allocation))
        return false;
  return true;
}

/* ---- going on ---- */

static void fill(struct ledger *ledger) {
  uint32_t unused = ledger_free_slots(ledger), live = ledger_live(ledger), slot = 0;
  struct ledger_record record = {.kind = LEDGER_JOB};
  while (unused--) {
    record.id = ledger_next_id(ledger);
    must(!ledger_put(ledger, &record, &slot));
    must(ledger_live(ledger) == ++live);
  }
  must(ledger_put(ledger, &record, &slot) == STATUS_INSUFFICIENT_MEMORY);
  judge(ledger);
}

static void go_on(struct ledger *heir) {
  struct problem problem = {0};
  struct ledger *next;
  uint32_t live = ledger_live(heir);
  bool ids_are_left =
      (heir->id_next + LEDGER_ID_STEP) >> LEDGER_ID_BITS == heir->id_next >> LEDGER_ID_BITS;
  judge(heir);
  must(places_are_good(heir) == !ledger_check_overlaps(heir, &problem));
  must(!ledger_adopt(ledger_share(heir), &next, &problem));
  must(ledger_live(next) == live);
  ledger_free(heir);
  if (ids_are_left) {
    fill(next);
    must(!ledger_adopt(ledger_share(next), &heir, &problem));
    must(ledger_live(heir) == ledger_live(next));
    ledger_free(heir);
  }
  ledger_free(next);
}

static void try(const uint8_t *bytes, size_t size) {
  struct share share;
  struct ledger *heir = NULL;
  struct problem problem = {0};
  void *map = NULL;
  must(!os_memfd_create("fuzz", size, &share));
  must(!os_memfd_seal(&share, OS_MEMFD_SEAL_SHRINK));
  if (size)
    must(!os_memfd_map(&share, size, true, &map));
  if (size)
    memcpy(map, bytes, size);
  if (ledger_adopt(&share, &heir, &problem)) {
    must(problem.status == STATUS_CONFLICT && problem.text[0] && !heir);
    must(!size || !memcmp(map, bytes, size));
  } else {
    go_on(heir);
  }
  os_memfd_unmap(map, size);
  share_close(&share);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > MAX_BYTES)
    return 0;
  try(data, size);
  uint8_t *mended = malloc(size + 1);
  must(mended);
  memcpy(mended, data, size);
  mend(mended, size);
  try(mended, size);
  free(mended);
  return 0;
}
