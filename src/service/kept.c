/*
 * kept: one limit record per device that was ever here, and one per domain with a quota. They are
 * never dropped.
 */
#include "service/kept.h"

#include <string.h>

#include "service/bound.h"

struct kept_place {
  uint64_t *id;
  uint32_t *slot;
};

static enum status keep(struct service *s, const struct kept_place *place, const char *name,
                        struct ledger_limit limit) {
  struct ledger_record record = {.kind = LEDGER_LIMIT, .u.limit = limit};
  if (*place->id) {
    record.id = *place->id;
    const struct ledger_limit *old = &ledger_at(s->ledger, *place->slot)->u.limit;
    record.u.limit.text = old->text;
    if (!(limit.card[0] | limit.card[1])) /* a card without its driver does not say who it is */
      memcpy(record.u.limit.card, old->card, sizeof old->card);
    return ledger_replace(s->ledger, place->slot, &record);
  }
  uint32_t text_slot;
  if (ledger_put_text(s->ledger, name, strlen(name), &record.u.limit.text, &text_slot))
    return STATUS_INSUFFICIENT_MEMORY;
  record.id = ledger_next_id(s->ledger);
  if (ledger_put(s->ledger, &record, place->slot))
    return STATUS_INSUFFICIENT_MEMORY; /* the text goes at the next start, nobody names it */
  *place->id = record.id;
  return STATUS_OK;
}

enum status kept_device(struct service *s, uint32_t index, bool changed) {
  struct state_device *device = &s->devices[index];
  struct kept_place place = {&device->record, &device->record_slot};
  struct ledger_limit limit = {.max_bytes = device->limit,
                               .reserved_bytes = device->reserved,
                               .total_bytes = device->spec.size_bytes,
                               .changed = changed};
  bound_card(device->info->uuid, limit.card);
  return keep(s, &place, device->info->id, limit);
}

enum status kept_quota(struct service *s, uint32_t index) {
  struct state_domain *domain = &s->domains[index];
  struct kept_place place = {&domain->record, &domain->record_slot};
  return keep(s, &place, domain->name,
              (struct ledger_limit){.max_bytes = domain->max_bytes,
                                    .reserved_bytes = domain->max_allocations,
                                    .domain = domain->number,
                                    .of_domain = 1});
}
