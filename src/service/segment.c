/*
 * segment: the books of segments. One is in three lists: all by id, those of its device by rising
 * id, and those of its owner on that device, where the one that was useful last comes first.
 *
 * On its way out the workers drop it, then the vault, then the driver gets it; what that takes was
 * set aside when it was added.
 */
#include "service/segment.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/attachment.h"
#include "service/space.h"
#include "service/waiting.h"

/* A segment on its way back: the workers drop it, then the vault, then the driver gets it.
 */
struct segment_leaving {
  struct device_call call;
  struct mover_drop drop;
  struct keeper_drop vault;
  struct service *service;
  uint32_t device;
  uint64_t resident, started_ns;
  segment_then_fn *then;
  void *arg;
};

static void link_slab(struct service *s, uint32_t index) {
  struct state_segment *segment = state_segment(s, index);
  uint32_t *head = &state_owner(s, segment->owner)->slabs[segment->device];
  segment->slab_previous = 0;
  segment->slab_next = *head;
  if (*head)
    state_segment(s, *head)->slab_previous = index;
  *head = index;
}

static void unlink_slab(struct service *s, uint32_t index) {
  struct state_segment *segment = state_segment(s, index);
  uint32_t *head = &state_owner(s, segment->owner)->slabs[segment->device];
  if (segment->slab_previous)
    state_segment(s, segment->slab_previous)->slab_next = segment->slab_next;
  else
    *head = segment->slab_next;
  if (segment->slab_next)
    state_segment(s, segment->slab_next)->slab_previous = segment->slab_previous;
}

void segment_fills(struct service *s, struct state_segment *segment, bool fills) {
  struct state_device *device = &s->devices[segment->device];
  struct state_owner *owner = state_owner(s, segment->owner);
  uint64_t *from = fills ? &device->cached : &device->committed;
  uint64_t *to = fills ? &device->committed : &device->cached;
  *from -= segment->size;
  *to += segment->size;
  device->resident_cached = fills ? units_minus(device->resident_cached, segment->resident)
                                  : device->resident_cached + segment->resident;
  owner->committed[segment->device] += fills ? segment->size : -segment->size;
  owner->empty[segment->device] += fills ? UINT32_MAX : 1;
}

/* Into the lists and figures, empty. False: no room, nothing happened. */
static bool enter(struct service *s, uint32_t index) {
  struct state_segment *segment = state_segment(s, index);
  struct state_device *device = &s->devices[segment->device];
  segment->leaving = calloc(1, sizeof *segment->leaving);
  if (!segment->leaving || !idmap_append(&s->segment_ids, segment->id, index)) {
    free(segment->leaving);
    return false;
  }
  segment->domain = state_owner(s, segment->owner)->domain;
  segment->previous = device->last;
  if (device->last)
    state_segment(s, device->last)->next = index;
  else
    device->first = index;
  device->last = index;
  device->segments++;
  device->cached += segment->size;
  device->made += segment->size;
  state_owner(s, segment->owner)->empty[segment->device]++;
  link_slab(s, index);
  return true;
}

static struct ledger_record record_of(const struct service *s, const struct segment_new *new) {
  const struct state_owner *owner = state_owner(s, new->owner);
  struct ledger_record record = {.kind = LEDGER_SEGMENT, .id = new->id};
  record.u.segment = (struct ledger_segment){.size_bytes = new->size,
                                             .created_boot_ns = clock_boot(),
                                             .created_real_ns = clock_real(),
                                             .device = s->devices[new->device].record,
                                             .domain = s->domains[owner->domain].number,
                                             .type = !new->span,
                                             .share_kind = (uint8_t) new->share.kind,
                                             .owner = owner->id};
  return record;
}

uint32_t segment_add(struct service *s, const struct segment_new *new) {
  uint32_t index = pool_take(&s->segments);
  if (!index)
    return 0;
  struct state_segment *segment = state_segment(s, index);
  struct ledger_record record = record_of(s, new);
  segment->id = new->id;
  segment->size = new->size;
  segment->share = new->share;
  segment->span = new->span;
  segment->device = new->device;
  segment->owner = new->owner;
  segment->kept = new->kept;
  segment->fresh = true;
  bool recorded = !ledger_put(s->ledger, &record, &segment->slot);
  if (!recorded || !enter(s, index)) {
    if (recorded)
      ledger_drop(s->ledger, segment->slot);
    pool_give(&s->segments, index);
    return 0;
  }
  if (s->keeper)
    s->keeper->entered(s->keeper_ctx, segment->kept);
  return index;
}

uint32_t segment_adopt(struct service *s, const struct segment_new *new, uint32_t slot) {
  uint32_t index = pool_take(&s->segments);
  if (!index)
    return 0;
  struct state_segment *segment = state_segment(s, index);
  bool lost = new->share.kind == SHARE_NONE;
  segment->id = new->id;
  segment->size = lost ? 0 : new->size;
  segment->share = new->share;
  segment->span = new->span;
  segment->device = new->device;
  segment->owner = new->owner;
  segment->kept = new->kept;
  segment->slot = slot;
  segment->closed = lost;
  if (enter(s, index))
    return index;
  pool_give(&s->segments, index);
  return 0;
}

static void take_out(struct service *s, uint32_t index) {
  struct state_segment *segment = state_segment(s, index);
  struct state_device *device = &s->devices[segment->device];
  attachment_segment_leaves(s, segment);
  if (segment->previous)
    state_segment(s, segment->previous)->next = segment->next;
  else
    device->first = segment->next;
  if (segment->next)
    state_segment(s, segment->next)->previous = segment->previous;
  else
    device->last = segment->previous;
  device->segments--;
  device->cached -= segment->size;
  device->resident_cached = units_minus(device->resident_cached, segment->resident);
  device->resident = units_minus(device->resident, segment->resident);
  state_owner(s, segment->owner)->empty[segment->device]--;
  unlink_slab(s, index);
  idmap_erase(&s->segment_ids, segment->id);
  ledger_drop(s->ledger, segment->slot);
  span_free(segment->span);
  pool_give(&s->segments, index);
}

void segment_first(struct service *s, uint32_t index) {
  if (!state_segment(s, index)->slab_previous)
    return;
  unlink_slab(s, index);
  link_slab(s, index);
}

/* ---- the way out ---- */

/* Pages of the host are free for all its devices now; a reading from before does not know. */
static void credit(struct service *s, const struct segment_leaving *leaving) {
  for (uint32_t i = 0; i < s->device_count; i++) {
    struct state_device *device = &s->devices[i];
    if (device->info->host_memory && device->budget.sampled_ns < leaving->started_ns)
      device->budget.free_bytes += leaving->resident;
  }
}

static void left(struct device_call *call) {
  struct segment_leaving *leaving = (struct segment_leaving *)call;
  struct service *s = leaving->service;
  lock_take(&s->lock);
  struct state_device *device = &s->devices[leaving->device];
  device->releasing -= call->size;
  device->leaving--;
  if (device->info->host_memory)
    credit(s, leaving);
  space_came_back(s, leaving->device);
  state_pressure(s);
  waiting_kick(s);
  lock_give(&s->lock);
  if (leaving->then)
    leaving->then(leaving->arg);
  free(leaving);
}

static void to_driver(struct segment_leaving *leaving) {
  device_start(leaving->service->devices[leaving->device].device, &leaving->call);
}

static void forgotten(struct keeper_drop *drop) {
  to_driver((struct segment_leaving *)((char *)drop - offsetof(struct segment_leaving, vault)));
}

static void dropped(struct mover_drop *drop) {
  struct segment_leaving *leaving =
      (struct segment_leaving *)((char *)drop - offsetof(struct segment_leaving, drop));
  struct service *s = leaving->service;
  if (s->keeper)
    s->keeper->drop(s->keeper_ctx, &leaving->vault);
  else
    to_driver(leaving);
}

void segment_release(struct service *s, uint32_t index, segment_then_fn *then, void *arg) {
  struct state_segment *segment = state_segment(s, index);
  struct segment_leaving *leaving = segment->leaving;
  *leaving = (struct segment_leaving){.service = s,
                                      .device = segment->device,
                                      .resident = segment->resident,
                                      .started_ns = clock_now(),
                                      .then = then,
                                      .arg = arg};
  leaving->call = (struct device_call){.action = DEVICE_RELEASE,
                                       .size = segment->size,
                                       .share = segment->share,
                                       .exported = segment->exported,
                                       .done = left};
  leaving->drop = (struct mover_drop){.segment = segment->id, .done = dropped};
  leaving->vault = (struct keeper_drop){.segment = segment->id, .done = forgotten};
  bool sent = segment->sent;
  s->devices[segment->device].releasing += segment->size;
  s->devices[segment->device].leaving++;
  take_out(s, index);
  if (sent && s->mover)
    s->mover->drop(s->mover_ctx, &leaving->drop);
  else
    dropped(&leaving->drop);
}
