/*
 * ledger_adopt: a ledger that another daemon left. First everything is looked at and nothing
 * written; a single thing that does not add up refuses the whole. The records themselves are read
 * twice, for they are what memory is slow with; all else is asked of the list by ids, where what
 * the look finds out about a record is noted beside its kind. Then the list of free records is made
 * anew, what a change cut short left behind is freed, and the hints of texts are set.
 *
 * Texts cannot go round: the last piece of one is made first, so a piece names an older one, and no
 * piece is named twice.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/os_memfd.h"
#include "ledger/ledger_layout.h"

#define COUNTED ((UINT64_C(1) << LEDGER_ID_BITS) - 1)

enum {
  KIND = 0xff,         /* these bits of a note are the kind */
  MARK_OLDER = 0x100,  /* a newer version is live */
  MARK_ADRIFT = 0x200, /* an attachment to nothing */
  MARK_NAMED = 0x400,  /* a piece of text that a record names */
};

struct adoption {
  struct ledger *ledger;
  struct idmap_entry *found[LEDGER_TEXT_CHAIN + 1]; /* last, of each kind */
  struct problem *problem;
};

static enum status refuse(struct adoption *adoption, const char *why, uint64_t number) {
  return problem_set(adoption->problem, STATUS_CONFLICT,
                     "the ledger is not valid: %s (%" PRIu64 ")", why, number);
}

/* The newest version. Records that name the same one tend to lie together. */
static struct idmap_entry *find(struct adoption *adoption, uint64_t id, enum ledger_kind kind) {
  struct idmap_entry *entry = adoption->found[kind];
  if (entry && entry->id == id)
    return entry;
  entry = ledger_order_find(&adoption->ledger->by_id, id);
  while (entry && entry != adoption->ledger->by_id.entries && entry[-1].id == id)
    entry--;
  while (entry && entry->note & MARK_OLDER)
    entry++;
  if (entry)
    adoption->found[kind] = entry;
  return entry;
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

/* Of two of one id, the newer. */
static enum status judge(struct adoption *adoption, struct idmap_entry *other,
                         struct idmap_entry **newest) {
  struct idmap_entry *before = *newest;
  uint32_t version = ledger_slot(adoption->ledger, before->value)->version;
  uint32_t others = ledger_slot(adoption->ledger, other->value)->version;
  if (other->note != (before->note & KIND))
    return refuse(adoption, "two kinds of record with one id: record", other->value);
  if (others == version + 1) {
    before->note |= MARK_OLDER;
    *newest = other;
  } else if (others + 1 == version) {
    other->note |= MARK_OLDER;
  } else {
    return refuse(adoption, "two of one id, and neither follows the other: record", other->value);
  }
  return STATUS_OK;
}

static enum status check_versions(struct adoption *adoption) {
  struct ledger_order *by_id = &adoption->ledger->by_id;
  struct idmap_entry *newest = by_id->entries;
  enum status status = STATUS_OK;
  for (uint32_t i = 1; !status && i < by_id->count; i++) {
    struct idmap_entry *entry = &by_id->entries[i];
    if (entry->id == newest->id)
      status = judge(adoption, entry, &newest);
    else
      newest = entry;
  }
  return status;
}

static enum status no_memory(struct adoption *adoption) {
  return problem_set(adoption->problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
}

static enum status check_each(struct adoption *adoption) {
  struct ledger *ledger = adoption->ledger;
  enum status status = STATUS_OK;
  if (!ledger_order_init(&ledger->by_id, ledger->capacity))
    return no_memory(adoption);
  for (uint32_t slot = 1; !status && slot <= ledger->capacity; slot++) {
    const struct ledger_record *record = ledger_slot(ledger, slot);
    if (record->state == LEDGER_STATE_FREE)
      continue;
    ledger->top = slot;
    status = check_record(adoption, slot);
    if (!status)
      ledger_order_add(&ledger->by_id, (struct idmap_entry){record->id, slot, record->kind});
  }
  if (status)
    return status;
  return ledger_order_sort(&ledger->by_id, LEDGER_ORDER_ID) ? check_versions(adoption)
                                                            : no_memory(adoption);
}

/* ---- what they say of each other ---- */

static enum status check_named(struct adoption *adoption, uint32_t slot, uint64_t id,
                               enum ledger_kind kind) {
  const struct idmap_entry *named = find(adoption, id, kind);
  if (named && (named->note & KIND) == kind)
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
  struct idmap_entry *text = find(adoption, id, LEDGER_TEXT_CHAIN);
  if (text->note & MARK_NAMED)
    return refuse(adoption, "its text is another's too: record", slot);
  text->note |= MARK_NAMED;
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
static enum status check_attachment(struct adoption *adoption, struct idmap_entry *entry) {
  uint32_t slot = entry->value;
  const struct ledger_attachment *attachment = &ledger_slot(adoption->ledger, slot)->u.attachment;
  const struct idmap_entry *to = find(adoption, attachment->allocation, LEDGER_ALLOCATION);
  if (!to && was_given_out(adoption, attachment->allocation))
    entry->note |= MARK_ADRIFT;
  else if (!to || (to->note & KIND) != LEDGER_ALLOCATION)
    return refuse(adoption, "it is attached to what was no allocation: record", slot);
  return check_named(adoption, slot, attachment->owner, LEDGER_OWNER);
}

static enum status check_references(struct adoption *adoption, struct idmap_entry *entry) {
  uint32_t slot = entry->value;
  const struct ledger_record *record = ledger_slot(adoption->ledger, slot);
  switch (entry->note & KIND) {
  case LEDGER_ALLOCATION:
    return check_allocation(adoption, slot);
  case LEDGER_ATTACHMENT:
    return check_attachment(adoption, entry);
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
  for (uint32_t i = 0; !status && i < ledger->by_id.count; i++)
    if (!(ledger->by_id.entries[i].note & MARK_OLDER))
      status = check_references(adoption, &ledger->by_id.entries[i]);
  return status;
}

/* ---- from here on it is ours ---- */

/* Those between the live ones; what is above the last of them is taken by count. */
static void chain_free(struct ledger *ledger) {
  uint32_t holes = ledger->top - ledger->live;
  for (uint32_t slot = ledger->top; holes; slot--) {
    if (ledger_is_live(ledger, slot))
      continue;
    ((struct ledger_unused *)ledger_slot(ledger, slot))->next = ledger->free_head;
    ledger->free_head = slot;
    holes--;
  }
}

static void take_over(struct adoption *adoption) {
  struct ledger *ledger = adoption->ledger;
  struct ledger_order *by_id = &ledger->by_id;
  uint32_t kept = 0;
  ledger->live = by_id->count;
  chain_free(ledger);
  for (uint32_t i = 0; i < by_id->count; i++) {
    struct idmap_entry entry = by_id->entries[i];
    if (entry.note & (MARK_OLDER | MARK_ADRIFT)) {
      ledger_drop(ledger, entry.value);
      continue;
    }
    entry.note &= KIND;
    by_id->entries[kept++] = entry;
  }
  by_id->count = kept;
  ledger->id_next = ledger->id_end = ledger->header->next_id;
}

/* Where each piece of a text goes on. */
static void set_hints(const struct ledger *ledger) {
  const struct ledger_order *by_id = &ledger->by_id;
  for (uint32_t i = 0; i < by_id->count; i++) {
    if (by_id->entries[i].note != LEDGER_TEXT_CHAIN)
      continue;
    struct ledger_record *record = ledger_slot(ledger, by_id->entries[i].value);
    const struct idmap_entry *next = ledger_order_find(by_id, record->u.text.next);
    record->last_access_real_ns = next ? next->value : 0;
  }
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
    return no_memory(&adoption);
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
    set_hints(adoption.ledger);
    *out = adoption.ledger;
  }
  return status;
}
