/*
 * ledger_adopt: a ledger that another daemon left. First everything is looked at and nothing
 * written; a single thing that does not add up refuses the whole. Then the older of two versions is
 * freed, the list of free records made anew, and the hints of texts set.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/os_memfd.h"
#include "ledger/ledger_layout.h"

/* A live record, for finding it by id. */
struct found {
  uint64_t id;
  uint32_t version, slot;
};

struct adoption {
  struct ledger *ledger;
  struct found *found;
  size_t count;
  struct problem *problem;
};

static enum status refuse(struct adoption *adoption, const char *why, uint64_t number) {
  return problem_set(adoption->problem, STATUS_CONFLICT,
                     "the ledger is not valid: %s (%" PRIu64 ")", why, number);
}

static enum status check_header(struct adoption *adoption, uint64_t bytes) {
  const struct ledger_header *header = adoption->ledger->header;
  if (memcmp(header->magic, LEDGER_MAGIC, sizeof header->magic) != 0)
    return refuse(adoption, "it does not begin like one", 0);
  if (header->format != LEDGER_VERSION)
    return refuse(adoption, "another version of Memkeep wrote it, format", header->format);
  if (header->record_size != LEDGER_RECORD)
    return refuse(adoption, "its records have another size", header->record_size);
  if (bytes % LEDGER_RECORD || bytes > LEDGER_MAP)
    return refuse(adoption, "it is cut, or too long, at byte", bytes);
  return header->next_id ? STATUS_OK : refuse(adoption, "it has no next id", 0);
}

static enum status check_record(struct adoption *adoption, uint32_t slot) {
  const struct ledger_record *record = ledger_slot(adoption->ledger, slot);
  uint64_t next = adoption->ledger->header->next_id;
  if (record->state == LEDGER_STATE_FREE)
    return STATUS_OK;
  if (record->state != LEDGER_STATE_LIVE)
    return refuse(adoption, "neither live nor free: record", slot);
  if (record->kind == LEDGER_FREE || record->kind > LEDGER_TEXT_CHAIN)
    return refuse(adoption, "of an unknown kind: record", slot);
  if (record->crc != ledger_crc(record))
    return refuse(adoption, "the checksum is wrong: record", slot);
  if (record->id >> LEDGER_ID_BITS != next >> LEDGER_ID_BITS || record->id >= next)
    return refuse(adoption, "an id that was never given out: record", slot);
  adoption->found[adoption->count++] = (struct found){record->id, record->version, slot};
  return STATUS_OK;
}

static int by_id(const void *left, const void *right) {
  const struct found *a = left, *b = right;
  if (a->id != b->id)
    return a->id < b->id ? -1 : 1;
  return a->version < b->version ? -1 : a->version > b->version;
}

static enum status check_versions(struct adoption *adoption) {
  for (size_t i = 1; i < adoption->count; i++)
    if (adoption->found[i].id == adoption->found[i - 1].id &&
        adoption->found[i].version == adoption->found[i - 1].version)
      return refuse(adoption, "two records of one id and version: record", adoption->found[i].slot);
  return STATUS_OK;
}

static enum status check(struct adoption *adoption, uint64_t bytes) {
  struct ledger *ledger = adoption->ledger;
  enum status status = check_header(adoption, bytes);
  if (status)
    return status;
  ledger->capacity = ledger->grown = (uint32_t)(bytes / LEDGER_RECORD) - 1;
  adoption->found = malloc(((size_t)ledger->capacity + 1) * sizeof *adoption->found);
  if (!adoption->found)
    return problem_set(adoption->problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  for (uint32_t slot = 1; !status && slot <= ledger->capacity; slot++)
    status = check_record(adoption, slot);
  if (status)
    return status;
  if (adoption->count)
    qsort(adoption->found, adoption->count, sizeof *adoption->found, by_id);
  return check_versions(adoption);
}

/* ---- from here on it is ours ---- */

static void keep_newest(struct adoption *adoption) {
  size_t kept = 0;
  for (size_t i = 0; i < adoption->count; i++) {
    const struct found *found = &adoption->found[i];
    if (i + 1 < adoption->count && adoption->found[i + 1].id == found->id)
      ledger_slot(adoption->ledger, found->slot)->state = LEDGER_STATE_FREE;
    else
      adoption->found[kept++] = *found;
  }
  adoption->count = kept;
}

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

static void hint_texts(const struct adoption *adoption) {
  for (size_t i = 0; i < adoption->count; i++) {
    struct ledger_record *record = ledger_slot(adoption->ledger, adoption->found[i].slot);
    if (record->kind != LEDGER_TEXT_CHAIN)
      continue;
    const struct found key = {.id = record->u.text.next, .version = 1};
    const struct found *next = bsearch(&key, adoption->found, adoption->count, sizeof key, by_id);
    record->last_access_real_ns = next ? next->slot : 0;
  }
}

static void take_over(struct adoption *adoption) {
  struct ledger *ledger = adoption->ledger;
  keep_newest(adoption);
  chain_free(ledger);
  hint_texts(adoption);
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
  free(adoption.found);
  return status;
}
