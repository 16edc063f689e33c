/*
 * keeper: the few questions between the service and whoever implements the table.
 */
#include "service/keeper.h"

#include <string.h>

#include "service/state.h"

uint64_t keeper_put(struct service *s, const struct keeper_segment *segment) {
  return s->keeper ? s->keeper->put(s->keeper_ctx, segment) : 0;
}

bool keeper_next(struct service *s, uint64_t epoch, uint64_t *after, struct keeper_segment *out) {
  LOCK_SCOPE(&s->lock);
  const struct idmap_entry *entry;
  while ((entry = idmap_next(&s->segment_ids, *after))) {
    const struct state_segment *segment = state_segment(s, entry->value);
    *after = segment->id;
    if (segment->kept == epoch || segment->share.kind == SHARE_NONE)
      continue;
    *out = (struct keeper_segment){segment->id, segment->size, segment->share};
    return true;
  }
  return false;
}

void keeper_kept(struct service *s, uint64_t id, uint64_t epoch) {
  LOCK_SCOPE(&s->lock);
  uint32_t index = idmap_find(&s->segment_ids, id);
  if (index)
    state_segment(s, index)->kept = epoch;
}

const struct share *keeper_ledger(struct service *s, uint64_t identity[2]) {
  ledger_identity(s->ledger, identity);
  return ledger_share(s->ledger);
}

bool keeper_is_needed(struct service *s) {
  LOCK_SCOPE(&s->lock);
  bool needed = s->segments.live;
  for (uint32_t i = 0; i < s->device_count; i++)
    needed = needed || ledger_at(s->ledger, s->devices[i].record_slot)->u.limit.changed;
  for (uint32_t i = 0; i < s->domain_count; i++)
    needed = needed || s->domains[i].record;
  return needed;
}
