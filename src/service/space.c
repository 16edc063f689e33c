/*
 * space: where blocks live. Small requests look through their owner's slabs; what fits none starts
 * a new segment:
 *
 *   reserve   device->pending += size          under the lock, so that nobody else is promised the
 * same bytes create    the device's owner thread        without it commit    segment record,
 * waiters served   under it
 *
 * Empty slabs that stand in the way of a reservation are released first; until the driver has them
 * back the new segment is `stalled`.
 */
#include "service/space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "memory/slab.h"
#include "service/waiting.h"

struct space_grow {
  struct device_call call;
  struct service *service;
  uint32_t device, owner;
  uint64_t size;
  uint64_t promised; /* to the waiters, slack for their alignment included */
  bool dedicated, stalled;
  struct space_waiter *first, **last;
  struct space_grow *next; /* of the service's list of growths */
};

/* A segment on its way back: the workers drop it, then the driver gets it. */
struct space_leaving {
  struct device_call call;
  struct mover_drop drop;
  struct service *service;
  uint32_t device;
  space_then_fn *then;
  void *arg;
};

static void grow_ready(struct device_call *call);

/* ---- books ---- */

static void slab_link(struct service *s, uint32_t index) {
  struct state_segment *segment = state_segment(s, index);
  uint32_t *head = &state_owner(s, segment->owner)->slabs[segment->device];
  segment->slab_previous = 0;
  segment->slab_next = *head;
  if (*head)
    state_segment(s, *head)->slab_previous = index;
  *head = index;
}

static void slab_unlink(struct service *s, uint32_t index) {
  struct state_segment *segment = state_segment(s, index);
  uint32_t *head = &state_owner(s, segment->owner)->slabs[segment->device];
  if (segment->slab_previous)
    state_segment(s, segment->slab_previous)->slab_next = segment->slab_next;
  else
    *head = segment->slab_next;
  if (segment->slab_next)
    state_segment(s, segment->slab_next)->slab_previous = segment->slab_previous;
}

/* The first block of a segment makes it committed, the last one that leaves makes it cached. */
static void segment_fills(struct service *s, struct state_segment *segment, bool fills) {
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

static void book(struct service *s, const struct space *place, bool enters) {
  struct state_segment *segment = state_segment(s, place->segment);
  uint64_t change = enters ? place->size : -place->size;
  segment->allocated += change;
  s->devices[segment->device].allocated += change;
}

static uint32_t segment_add(struct service *s, struct space_grow *grow, struct span *span) {
  struct space_leaving *leaving = calloc(1, sizeof *leaving);
  uint32_t index = leaving ? pool_take(&s->segments) : 0;
  if (!index) {
    free(leaving);
    return 0;
  }
  struct state_segment *segment = state_segment(s, index);
  struct state_device *device = &s->devices[grow->device];
  segment->id = ledger_next_id(s->ledger);
  segment->size = grow->size;
  segment->share = grow->call.share;
  segment->span = span;
  segment->device = grow->device;
  segment->owner = grow->owner;
  segment->domain = state_owner(s, grow->owner)->domain;
  segment->fresh = true;
  struct ledger_record record = {.kind = LEDGER_SEGMENT, .id = segment->id};
  record.u.segment = (struct ledger_segment){.size_bytes = segment->size,
                                             .created_boot_ns = clock_boot(),
                                             .created_real_ns = clock_real(),
                                             .device = grow->device,
                                             .domain = s->domains[segment->domain].number,
                                             .type = grow->dedicated,
                                             .share_kind = (uint8_t)segment->share.kind,
                                             .owner = state_owner(s, grow->owner)->id};
  bool recorded = !ledger_put(s->ledger, &record, &segment->slot);
  if (!recorded || !idmap_append(&s->segment_ids, segment->id, index)) {
    if (recorded)
      ledger_drop(s->ledger, segment->slot);
    pool_give(&s->segments, index);
    free(leaving);
    return 0;
  }
  segment->leaving = leaving;
  segment->previous = device->last;
  if (device->last)
    state_segment(s, device->last)->next = index;
  else
    device->first = index;
  device->last = index;
  device->segments++;
  device->cached += segment->size;
  state_owner(s, grow->owner)->empty[grow->device]++;
  slab_link(s, index);
  return index;
}

static void segment_remove(struct service *s, uint32_t index) {
  struct state_segment *segment = state_segment(s, index);
  struct state_device *device = &s->devices[segment->device];
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
  slab_unlink(s, index);
  idmap_erase(&s->segment_ids, segment->id);
  ledger_drop(s->ledger, segment->slot);
  span_free(segment->span);
  pool_give(&s->segments, index);
}

/* ---- taking ---- */

static bool take_in(struct service *s, struct space_waiter *waiter, uint32_t index) {
  struct state_segment *segment = state_segment(s, index);
  const struct space_want *want = &waiter->want;
  if (segment->closed || segment->size - segment->allocated < want->size)
    return false;
  waiter->place = (struct space){.segment = index, .size = want->size};
  if (segment->span) {
    if (!span_may_fit(segment->span, want->size, want->alignment))
      return false;
    struct span_request request = {want->size, want->alignment, UINT32_MAX};
    if (span_take(segment->span, &request, &waiter->place.node, &waiter->place.offset))
      return false;
  }
  waiter->fresh = segment->fresh;
  if (!segment->blocks++)
    segment_fills(s, segment, true);
  book(s, &waiter->place, true);
  return true;
}

bool space_take_at(struct service *s, uint32_t index, uint64_t offset, uint64_t size,
                   struct space *out) {
  struct state_segment *segment = state_segment(s, index);
  struct span_request request = {size, 1, UINT32_MAX};
  struct space place = {.segment = index, .offset = offset, .size = size};
  if (span_take_at(segment->span, offset, &request, &place.node))
    return false;
  if (!segment->blocks++)
    segment_fills(s, segment, true);
  book(s, &place, true);
  *out = place;
  return true;
}

static bool take_slab(struct service *s, struct space_waiter *waiter) {
  uint32_t *head = &state_owner(s, waiter->want.owner)->slabs[waiter->want.device];
  for (uint32_t i = *head; i; i = state_segment(s, i)->slab_next) {
    if (!state_segment(s, i)->span || !take_in(s, waiter, i))
      continue;
    if (i != *head) { /* the next request of this owner most likely fits here too */
      slab_unlink(s, i);
      slab_link(s, i);
    }
    return true;
  }
  return false;
}

static uint64_t need_of(const struct space_want *want) {
  uint64_t slack = want->alignment > SLAB_GRANULE ? want->alignment : 0;
  return units_up(want->size, SLAB_GRANULE) + slack;
}

/* ---- growing ---- */

/* The owner's slab that is being made and has room left, or NULL. */
static struct space_grow *growth_with_room(struct service *s, const struct space_want *want) {
  for (struct space_grow *grow = s->growing; grow; grow = grow->next)
    if (!grow->dedicated && grow->owner == want->owner && grow->device == want->device &&
        grow->size - grow->promised >= need_of(want))
      return grow;
  return NULL;
}

static void growth_join(struct space_grow *grow, struct space_waiter *waiter) {
  waiter->next = NULL;
  *grow->last = waiter;
  grow->last = &waiter->next;
  grow->promised += need_of(&waiter->want);
}

static bool wants_own(const struct service *s, const struct space_want *want) {
  return want->dedicated || want->size >= slab_dedicated_from(s->devices[want->device].limit);
}

/* How large the new segment should be; 0: it cannot be. */
static uint64_t growth_size(const struct service *s, const struct space_want *want) {
  const struct state_device *device = &s->devices[want->device];
  uint64_t room = state_available(s, device), granularity = device->info->granularity;
  if (wants_own(s, want)) {
    uint64_t size = slab_dedicated_size(want->size, granularity);
    return size && size <= room ? size : 0;
  }
  uint64_t size = slab_next_size(state_owner(s, want->owner)->committed[want->device], want->size,
                                 want->alignment);
  uint64_t least = units_up(need_of(want), granularity);
  while (size > room && size / 2 >= least)
    size /= 2;
  if (size > room)
    size = least;
  return units_up(size, granularity) <= room ? units_up(size, granularity) : 0;
}

static bool growth_fits(const struct state_device *device) {
  uint64_t top = units_min(device->limit, device->info->total_bytes);
  return device->committed + device->cached + device->pending + device->releasing +
             device->external <=
         top;
}

static void growth_start(struct service *s, struct space_grow *grow) {
  grow->stalled = false;
  device_start(s->devices[grow->device].device, &grow->call);
}

enum status space_take(struct service *s, struct space_waiter *waiter, char reason[16]) {
  const struct space_want *want = &waiter->want;
  struct state_device *device = &s->devices[want->device];
  waiter->service = s;
  reason[0] = 0;
  if (want->size > device->limit)
    return STATUS_ALLOCATION_TOO_LARGE;
  bool own = wants_own(s, want);
  if (!own && take_slab(s, waiter))
    return STATUS_OK;
  struct space_grow *grow = own ? NULL : growth_with_room(s, want);
  if (grow) {
    growth_join(grow, waiter);
    return STATUS_PENDING;
  }
  uint64_t size = growth_size(s, want);
  bool crowded = s->segments.live + s->growing_count >= s->max_segments;
  if (crowded)
    snprintf(reason, 16, "segments");
  if (!size || crowded || !(grow = calloc(1, sizeof *grow)))
    return STATUS_INSUFFICIENT_MEMORY;
  grow->call = (struct device_call){.action = DEVICE_CREATE, .size = size, .done = grow_ready};
  grow->service = s;
  grow->device = want->device;
  grow->owner = want->owner;
  grow->size = size;
  grow->dedicated = own;
  grow->last = &grow->first;
  growth_join(grow, waiter);
  grow->next = s->growing;
  s->growing = grow;
  s->growing_count++;
  device->pending += size;
  state_owner(s, want->owner)->growing++;
  if (!growth_fits(device)) {
    uint32_t count;
    space_release_cached(s, want->device, NULL, NULL, &count);
  }
  grow->stalled = !growth_fits(device) && device->releasing;
  if (!grow->stalled)
    growth_start(s, grow);
  return STATUS_PENDING;
}

static void growth_unlink(struct service *s, struct space_grow *grow) {
  struct space_grow **link = &s->growing;
  while (*link != grow)
    link = &(*link)->next;
  *link = grow->next;
  s->growing_count--;
  s->devices[grow->device].pending -= grow->size;
  state_owner(s, grow->owner)->growing--;
}

/* The new segment enters the books and serves those who wait for it. */
static enum status growth_commit(struct service *s, struct space_grow *grow) {
  struct span *span = NULL;
  if (!grow->dedicated && span_create(&s->nodes, grow->size, SLAB_GRANULE, &span))
    return STATUS_INSUFFICIENT_MEMORY;
  uint32_t index = segment_add(s, grow, span);
  if (!index) {
    span_free(span);
    return STATUS_INSUFFICIENT_MEMORY;
  }
  grow->call.share.kind = SHARE_NONE;
  for (struct space_waiter *waiter = grow->first; waiter; waiter = waiter->next)
    waiter->status = take_in(s, waiter, index) ? STATUS_OK : STATUS_INSUFFICIENT_MEMORY;
  return STATUS_OK;
}

static void grow_ready(struct device_call *call) {
  struct space_grow *grow = (struct space_grow *)call;
  struct service *s = grow->service;
  lock_take(&s->lock);
  struct state_device *device = &s->devices[grow->device];
  growth_unlink(s, grow);
  enum status status = call->status ? call->status : growth_commit(s, grow);
  if (call->status)
    device->error_at = clock_now();
  state_pressure(s);
  lock_give(&s->lock);
  if (status) {
    log_warning("service", "%s: no segment of %llu bytes: %s", device->info->id,
                (unsigned long long)grow->size, status_text(status));
    for (struct space_waiter *waiter = grow->first; waiter; waiter = waiter->next)
      waiter->status = status;
  }
  share_close(&call->share);
  struct space_waiter *next;
  for (struct space_waiter *waiter = grow->first; waiter; waiter = next) {
    next = waiter->next;
    waiter->ready(waiter);
  }
  free(grow);
}

/* ---- giving back ---- */

static void left(struct device_call *call) {
  struct space_leaving *leaving = (struct space_leaving *)call;
  struct service *s = leaving->service;
  lock_take(&s->lock);
  struct state_device *device = &s->devices[leaving->device];
  device->releasing -= call->size;
  for (struct space_grow *grow = s->growing; grow; grow = grow->next)
    if (grow->stalled && grow->device == leaving->device &&
        (growth_fits(device) || !device->releasing))
      growth_start(s, grow);
  state_pressure(s);
  waiting_kick(s);
  lock_give(&s->lock);
  if (leaving->then)
    leaving->then(leaving->arg);
  free(leaving);
}

static void dropped(struct mover_drop *drop) {
  struct space_leaving *leaving =
      (struct space_leaving *)((char *)drop - offsetof(struct space_leaving, drop));
  device_start(leaving->service->devices[leaving->device].device, &leaving->call);
}

void space_release(struct service *s, uint32_t index, space_then_fn *then, void *arg) {
  struct state_segment *segment = state_segment(s, index);
  struct space_leaving *leaving = segment->leaving;
  *leaving =
      (struct space_leaving){.service = s, .device = segment->device, .then = then, .arg = arg};
  leaving->call = (struct device_call){
      .action = DEVICE_RELEASE, .size = segment->size, .share = segment->share, .done = left};
  leaving->drop = (struct mover_drop){.segment = segment->id, .done = dropped};
  bool sent = segment->sent;
  s->devices[segment->device].releasing += segment->size;
  segment_remove(s, index);
  if (sent && s->mover)
    s->mover->drop(s->mover_ctx, &leaving->drop);
  else
    dropped(&leaving->drop);
}

bool space_give(struct service *s, const struct space *place, space_then_fn *then, void *arg) {
  struct state_segment *segment = state_segment(s, place->segment);
  struct state_owner *owner = state_owner(s, segment->owner);
  if (segment->span)
    span_give(segment->span, place->node);
  book(s, place, false);
  segment->fresh = false;
  if (--segment->blocks)
    return false;
  segment_fills(s, segment, false);
  if (segment->span && !segment->closed && !owner->dead && owner->empty[segment->device] == 1)
    return false;
  space_release(s, place->segment, then, arg);
  return true;
}

uint64_t space_release_cached(struct service *s, uint32_t device, space_then_fn *then, void *arg,
                              uint32_t *count) {
  uint64_t bytes = 0;
  uint32_t next;
  *count = 0;
  for (uint32_t i = s->devices[device].first; i; i = next) {
    struct state_segment *segment = state_segment(s, i);
    next = segment->next;
    if (segment->blocks)
      continue;
    bytes += segment->size;
    ++*count;
    space_release(s, i, then, arg);
  }
  return bytes;
}

void space_owner_done(struct service *s, uint32_t index) {
  struct state_owner *owner = state_owner(s, index);
  if (!owner->dead || owner->allocations || owner->growing)
    return;
  for (uint32_t d = 0; d < s->device_count; d++)
    for (uint32_t i = owner->slabs[d], next; i; i = next) {
      next = state_segment(s, i)->slab_next;
      if (!state_segment(s, i)->blocks)
        space_release(s, i, NULL, NULL);
    }
  s->domains[owner->domain].recent = 0;
  idmap_erase(&s->owner_ids, owner->id);
  ledger_drop(s->ledger, owner->slot);
  pool_give(&s->owners, index);
}
