/*
 * state_alloc: what happens to an allocation, told to events, each with the one before it.
 */
#include "service/state.h"

static void fill(const struct service *s, uint32_t index, enum events_type type,
                 const char *correlation, struct events_record *out) {
  const struct state_alloc *alloc = state_alloc(s, index);
  const struct ledger_allocation *facts = state_record(s, alloc);
  uint32_t device = state_segment(s, alloc->segment)->device;
  *out = (struct events_record){.type = (uint8_t)type,
                                .subject = alloc->id,
                                .bytes = facts->size_bytes,
                                .before = alloc->last_event,
                                .device = (uint8_t)(device + 1),
                                .detail = facts->purpose};
  if (correlation)
    events_set_text(out, correlation);
}

void state_alloc_events(struct service *s, const uint32_t *indices, uint32_t count,
                        enum events_type type, const char *correlation) {
  struct events_record records[STATE_EVENTS];
  for (uint32_t i = 0; i < count; i++)
    fill(s, indices[i], type, correlation, &records[i]);
  events_add_some(s->events, records, count);
  for (uint32_t i = 0; i < count; i++)
    state_alloc(s, indices[i])->last_event = records[i].id;
}

void state_alloc_event(struct service *s, uint32_t index, enum events_type type,
                       const char *correlation) {
  struct events_record event;
  fill(s, index, type, correlation, &event);
  state_alloc(s, index)->last_event = events_add(s->events, &event);
}
