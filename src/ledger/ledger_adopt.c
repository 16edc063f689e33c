/*
 * ledger_adopt: a ledger that another daemon left. First everything is looked at and nothing
 * written; a single thing that does not add up refuses the whole. What the look finds out about a
 * record is kept beside it, one byte a slot. Then the list of free records is made anew, what a
 * change cut short left behind is freed, and the hints of texts are set.
 *
 * Texts cannot go round: the last piece of one is made first, so a piece names an older one, and no
 * piece is named twice.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/os_memfd.h"
#include "ledger/ledger_index.h"
#include "ledger/ledger_layout.h"

#define COUNTED ((UINT64_C(1) << LEDGER_ID_BITS) - 1)

enum {
  MARK_OLDER = 1,  /* a newer version is live */
  MARK_ADRIFT = 2, /* an attachment to nothing */
  MARK_NAMED = 4,  /* a piece of text that a record names */
};

struct adoption {
  struct ledger *ledger;
  struct ledger_index index; /* the newest version of each id */
  uint8_t *marks;            /* of each slot */
  struct problem *problem;
};

static enum status refuse(struct adoption *adoption, const char *why, uint64_t number) {
  return problem_set(adoption->problem, STATUS_CONFLICT,
                     "the ledger is not valid: %s (%" PRIu64 ")", why, number);
}

static const struct ledger_record *find(const struct adoption *adoption, uint64_t id) {
  uint32_t slot = ledger_index_find(&adoption->index, id);
  return slot ? ledger_slot(adoption->ledger, slot) : NULL;
}

/* ---- each by itself ---- */

static enum status check_header(struct adoption *adoption, uint64_t bytes) {
  const struct ledger_header *header = adoption->ledger->header;
  if (memcmp(header->magic, LEDGER_MAGIC, sizeof header->magic) != 0)
    return refuse(adoption, "it does not begin like one", 0);
  if (header->format != LEDGER_VERSION)
    return refuse(adoption, "another version of Memkeep wrote it, format", header->format);
  if (header->record_size != LEDGER_RECORD)
    return refuse(adoption, "its records have another size", header->record_size);
  if (header->crc != ledger_header_crc(header))
    return refuse(adoption, "the checksum of its header is wrong", header->crc);
  if (!(header->identity[0] | header->identity[1]))
    return refuse(adoption, "it has no identity", 0);
  if (bytes % LEDGER_RECORD || bytes > LEDGER_MAP)
    return refuse(adoption, "it is cut, or too long, at byte", bytes);
  return header->next_id & COUNTED ? STATUS_OK : refuse(adoption, "it has no next id", 0);
}

static bool was_given_out(const struct adoption *adoption, uint64_t id) {
  uint64_t next = adoption->ledger->header->next_id;
  return id >> LEDGER_ID_BITS == next >> LEDGER_ID_BITS && id & COUNTED && id < next;
}

static enum status check_record(struct adoption *adoption, uint32_t slot) {
  const struct ledger_record *record = ledger_slot(adoption->ledger, slot);
  if (record->state != LEDGER_STATE_LIVE)
    return refuse(adoption, "neither live nor free: record", slot);
  if (record->kind == LEDGER_FREE || record->kind > LEDGER_TEXT_CHAIN)
    return refuse(adoption, "of an unknown kind: record", slot);
  if (record->crc != ledger_crc(record))
    return refuse(adoption, "the checksum is wrong: record", slot);
  if (!was_given_out(adoption, record->id))
    return refuse(adoption, "an id that was never given out: record", slot);
  if (record->kind == LEDGER_TEXT_CHAIN && record->u.text.size > LEDGER_TEXT)
    return refuse(adoption, "a text that is longer than it can be: record", slot);
  return STATUS_OK;
}

static enum status enter(struct adoption *adoption, uint32_t slot) {
  uint32_t *place = ledger_index_place(&adoption->index, ledger_slot(adoption->ledger, slot)->id);
  uint32_t other = *place;
  *place = slot;
  if (!other)
    return STATUS_OK;
  const struct ledger_record *now = ledger_slot(adoption->ledger, slot);
  const struct ledger_record *before = ledger_slot(adoption->ledger, other);
  if (now->kind != before->kind)
    return refuse(adoption, "two kinds of record with one id: record", slot);
  if (now->version == before->version + 1) {
    adoption->marks[other] |= MARK_OLDER;
  } else if (now->version + 1 == before->version) {
    adoption->marks[slot] |= MARK_OLDER;
    *place = other;
  } else {
    return refuse(adoption, "two of one id, and neither follows the other: record", slot);
  }
  return STATUS_OK;
}

static enum status check_each(struct adoption *adoption) {
  uint32_t live = 0, capacity = adoption->ledger->capacity;
  for (uint32_t slot = 1; slot <= capacity; slot++)
    live += ledger_slot(adoption->ledger, slot)->state != LEDGER_STATE_FREE;
  adoption->marks = calloc((size_t)capacity + 1, 1);
  if (!adoption->marks || !ledger_index_init(&adoption->index, live))
    return problem_set(adoption->problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  enum status status = STATUS_OK;
  for (uint32_t slot = 1; !status && slot <= capacity; slot++) {
    if (ledger_slot(adoption->ledger, slot)->state == LEDGER_STATE_FREE)
      continue;
    status = check_record(adoption, slot);
    if (!status)
      status = enter(adoption, slot);
  }
  return status;
}

/* ---- what they say of each other ---- */

static enum status check_named(struct adoption *adoption, uint32_t slot, uint64_t id,
                               enum ledger_kind kind) {
  const struct ledger_record *named = find(adoption, id);
  if (named && named->kind == kind)
    return STATUS_OK;
  return refuse(adoption,
                kind == LEDGER_SEGMENT ? "its segment is missing: record"
                : kind == LEDGER_OWNER ? "its owner is missing: record"
                                       : "its text is missing: record",
                slot);
}

static enum status check_text(struct adoption *adoption, uint32_t slot, uint64_t id) {
  if (!id)
    return STATUS_OK;
  enum status status = check_named(adoption, slot, id, LEDGER_TEXT_CHAIN);
  if (status)
    return status;
  uint8_t *marks = &adoption->marks[ledger_index_find(&adoption->index, id)];
  if (*marks & MARK_NAMED)
    return refuse(adoption, "its text is another's too: record", slot);
  *marks |= MARK_NAMED;
  return STATUS_OK;
}

static enum status check_piece(struct adoption *adoption, uint32_t slot) {
  const struct ledger_record *record = ledger_slot(adoption->ledger, slot);
  if (record->u.text.next >= record->id)
    return refuse(adoption, "its text goes round: record", slot);
  return check_text(adoption, slot, record->u.text.next);
}

static enum status check_allocation(struct adoption *adoption, uint32_t slot) {
  const struct ledger_allocation *allocation = &ledger_slot(adoption->ledger, slot)->u.allocation;
  enum status status = check_named(adoption, slot, allocation->segment, LEDGER_SEGMENT);
  if (!status)
    status = check_named(adoption, slot, allocation->owner, LEDGER_OWNER);
  return status ? status : check_text(adoption, slot, allocation->text);
}

/* The one record that may name what is gone: allocations go before their attachments. */
static enum status check_attachment(struct adoption *adoption, uint32_t slot) {
  const struct ledger_attachment *attachment = &ledger_slot(adoption->ledger, slot)->u.attachment;
  const struct ledger_record *allocation = find(adoption, attachment->allocation);
  if (!allocation && was_given_out(adoption, attachment->allocation))
    adoption->marks[slot] |= MARK_ADRIFT;
  else if (!allocation || allocation->kind != LEDGER_ALLOCATION)
    return refuse(adoption, "it is attached to what was no allocation: record", slot);
  return check_named(adoption, slot, attachment->owner, LEDGER_OWNER);
}

static enum status check_references(struct adoption *adoption, uint32_t slot) {
  const struct ledger_record *record = ledger_slot(adoption->ledger, slot);
  switch (record->kind) {
  case LEDGER_ALLOCATION:
    return check_allocation(adoption, slot);
  case LEDGER_ATTACHMENT:
    return check_attachment(adoption, slot);
  case LEDGER_OWNER:
    return check_text(adoption, slot, record->u.owner.text);
  case LEDGER_LIMIT:
    return check_text(adoption, slot, record->u.limit.text);
  case LEDGER_TEXT_CHAIN:
    return check_piece(adoption, slot);
  default:
    return STATUS_OK;
  }
}

static enum status check(struct adoption *adoption, uint64_t bytes) {
  struct ledger *ledger = adoption->ledger;
  enum status status = check_header(adoption, bytes);
  if (status)
    return status;
  ledger->capacity = ledger->grown = (uint32_t)(bytes / LEDGER_RECORD) - 1;
  status = check_each(adoption);
  for (uint32_t slot = 1; !status && slot <= ledger->capacity; slot++)
    if (ledger_is_live(ledger, slot) && !(adoption->marks[slot] & MARK_OLDER))
      status = check_references(adoption, slot);
  return status;
}

/* ---- from here on it is ours ---- */

static void chain_free(struct ledger *ledger) {
  for (uint32_t slot = ledger->capacity; slot; slot--) {
    if (ledger_is_live(ledger, slot)) {
      ledger->live++;
      if (!ledger->top)
        ledger->top = slot;
    } else if (ledger->top) {
      ((struct ledger_unused *)ledger_slot(ledger, slot))->next = ledger->free_head;
      ledger->free_head = slot;
    }
  }
}

static void take_over(struct adoption *adoption) {
  struct ledger *ledger = adoption->ledger;
  chain_free(ledger);
  for (uint32_t slot = ledger_next(ledger, 0); slot; slot = ledger_next(ledger, slot)) {
    struct ledger_record *record = ledger_slot(ledger, slot);
    if (adoption->marks[slot] & (MARK_OLDER | MARK_ADRIFT))
      ledger_drop(ledger, slot);
    else if (record->kind == LEDGER_TEXT_CHAIN)
      record->last_access_real_ns = ledger_index_find(&adoption->index, record->u.text.next);
  }
  ledger->id_next = ledger->id_end = ledger->header->next_id;
}

static enum status map_old(struct ledger *ledger, const struct share *share, uint64_t *bytes) {
  void *map;
  enum status status = share_copy(share, &ledger->share);
  if (!status)
    status = os_memfd_size(share, bytes);
  if (!status && (*bytes < LEDGER_RECORD || !os_memfd_is_sealed(share, OS_MEMFD_SEAL_SHRINK)))
    status = STATUS_CONFLICT;
  if (!status)
    status = os_memfd_map(share, LEDGER_MAP, true, &map);
  if (!status)
    ledger->header = map;
  return status;
}

enum status ledger_adopt(const struct share *share, struct ledger **out, struct problem *problem) {
  struct adoption adoption = {.ledger = calloc(1, sizeof(struct ledger)), .problem = problem};
  if (!adoption.ledger)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  uint64_t bytes = 0;
  enum status status = map_old(adoption.ledger, share, &bytes);
  if (status == STATUS_CONFLICT)
    refuse(&adoption, "too short, or it could still be cut, at byte", bytes);
  else if (status)
    problem_set(problem, status, "the ledger cannot be mapped");
  else
    status = check(&adoption, bytes);
  if (status)
    ledger_free(adoption.ledger);
  else {
    take_over(&adoption);
    *out = adoption.ledger;
  }
  ledger_index_done(&adoption.index);
  free(adoption.marks);
  return status;
}
