/*
 * ledger_check: whether what the records say can be true at once. The span maps are not stored but
 * made from the allocations, so two that overlap would be two owners of one byte.
 */
#include <inttypes.h>

#include "ledger/ledger_layout.h"

static enum status refuse(uint32_t slot, const char *wrong, struct problem *problem) {
  return problem_set(problem, STATUS_CONFLICT,
                     "the ledger is not valid: the allocation in record %" PRIu32 " %s", slot,
                     wrong);
}

static enum status no_memory(struct problem *problem) {
  return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to check the ledger");
}

/* ---- collecting ---- */

/* What adoption made, or the same of a ledger that is in use. */
static bool list(const struct ledger *ledger, struct ledger_order *made) {
  if (!ledger_order_init(made, ledger_live(ledger)))
    return false;
  for (uint32_t slot = ledger_next(ledger, 0); slot; slot = ledger_next(ledger, slot))
    ledger_order_add(made, (struct idmap_entry){ledger_slot(ledger, slot)->id, slot,
                                                ledger_slot(ledger, slot)->kind});
  return ledger_order_sort(made, LEDGER_ORDER_ID);
}

static enum status check_place(const struct ledger *ledger, uint32_t slot,
                               const struct idmap_entry *segment, struct problem *problem) {
  const struct ledger_allocation *allocation = &ledger_slot(ledger, slot)->u.allocation;
  if (!segment || segment->note != LEDGER_SEGMENT)
    return refuse(slot, "lies in no segment", problem);
  if (!allocation->size_bytes)
    return refuse(slot, "is empty", problem);
  uint64_t size = ledger_slot(ledger, segment->value)->u.segment.size_bytes;
  if (allocation->size_bytes > size || allocation->offset_bytes > size - allocation->size_bytes)
    return refuse(slot, "leaves its segment", problem);
  return STATUS_OK;
}

/* Places: the id is the start, the note the segment's slot. */
static enum status collect(const struct ledger *ledger, const struct ledger_order *by_id,
                           struct ledger_order *places, struct problem *problem) {
  const struct idmap_entry *segment = NULL;
  for (uint32_t i = 0; i < by_id->count; i++) {
    uint32_t slot = by_id->entries[i].value;
    if (by_id->entries[i].note != LEDGER_ALLOCATION)
      continue;
    const struct ledger_allocation *allocation = &ledger_slot(ledger, slot)->u.allocation;
    if (!segment || segment->id != allocation->segment)
      segment = ledger_order_find(by_id, allocation->segment);
    enum status status = check_place(ledger, slot, segment, problem);
    if (status)
      return status;
    ledger_order_add(places, (struct idmap_entry){allocation->offset_bytes, slot, segment->value});
  }
  return STATUS_OK;
}

/* ---- judging ---- */

static enum status check_sorted(const struct ledger *ledger, const struct ledger_order *places,
                                struct problem *problem) {
  uint64_t end = 0;
  for (uint32_t i = 0; i < places->count; i++) {
    const struct idmap_entry *place = &places->entries[i];
    if (i && place->note == place[-1].note && place->id < end)
      return refuse(place->value, "overlaps another one", problem);
    end = place->id + ledger_slot(ledger, place->value)->u.allocation.size_bytes;
  }
  return STATUS_OK;
}

static enum status check(const struct ledger *ledger, const struct ledger_order *by_id,
                         struct ledger_order *places, struct problem *problem) {
  if (!ledger_order_init(places, by_id->count))
    return no_memory(problem);
  enum status status = collect(ledger, by_id, places, problem);
  if (!status && !ledger_order_sort(places, LEDGER_ORDER_NOTE_ID))
    status = no_memory(problem);
  return status ? status : check_sorted(ledger, places, problem);
}

enum status ledger_check_overlaps(struct ledger *ledger, struct problem *problem) {
  struct ledger_order made = {0};
  bool adopted = ledger->by_id.entries;
  enum status status;
  ledger_order_done(&ledger->by_place);
  if (adopted || list(ledger, &made))
    status = check(ledger, adopted ? &ledger->by_id : &made, &ledger->by_place, problem);
  else
    status = no_memory(problem);
  if (!adopted)
    ledger_order_done(&ledger->by_place);
  ledger_order_done(&made);
  return status;
}
