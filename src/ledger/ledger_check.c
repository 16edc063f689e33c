/*
 * ledger_check: whether what the records say can be true at once. The span maps are not stored but
 * made from the allocations, so two that overlap would be two owners of one byte.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "ledger/ledger_layout.h"

struct range {
  uint64_t segment, start,
      size; /* a segment itself comes first of its ranges, with place = false */
  uint32_t slot;
  bool place;
};

static int by_place(const void *left, const void *right) {
  const struct range *a = left, *b = right;
  if (a->segment != b->segment)
    return a->segment < b->segment ? -1 : 1;
  if (a->place != b->place)
    return a->place ? 1 : -1;
  return a->start < b->start ? -1 : a->start > b->start;
}

static size_t collect(const struct ledger *ledger, struct range *out) {
  size_t count = 0;
  for (uint32_t slot = ledger_next(ledger, 0); slot; slot = ledger_next(ledger, slot)) {
    const struct ledger_record *record = ledger_at(ledger, slot);
    if (record->kind == LEDGER_SEGMENT)
      out[count++] = (struct range){record->id, 0, record->u.segment.size_bytes, slot, false};
    if (record->kind == LEDGER_ALLOCATION)
      out[count++] = (struct range){record->u.allocation.segment, record->u.allocation.offset_bytes,
                                    record->u.allocation.size_bytes, slot, true};
  }
  return count;
}

static enum status check(const struct range *ranges, size_t count, struct problem *problem) {
  const struct range *segment = NULL;
  uint64_t end = 0;
  for (size_t i = 0; i < count; i++) {
    const struct range *range = &ranges[i];
    if (!range->place) {
      segment = range;
      end = 0;
      continue;
    }
    const char *wrong = NULL;
    if (!segment || segment->segment != range->segment)
      wrong = "lies in no segment";
    else if (range->size > segment->size || range->start > segment->size - range->size)
      wrong = "leaves its segment";
    else if (range->start < end)
      wrong = "overlaps another one";
    if (wrong)
      return problem_set(problem, STATUS_CONFLICT,
                         "the ledger is not valid: the allocation in record %" PRIu32 " %s",
                         range->slot, wrong);
    end = range->start + range->size;
  }
  return STATUS_OK;
}

enum status ledger_check_overlaps(const struct ledger *ledger, struct problem *problem) {
  struct range *ranges = malloc(((size_t)ledger_live(ledger) + 1) * sizeof *ranges);
  if (!ranges)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to check the ledger");
  size_t count = collect(ledger, ranges);
  if (count)
    qsort(ranges, count, sizeof *ranges, by_place);
  enum status status = check(ranges, count, problem);
  free(ranges);
  return status;
}
