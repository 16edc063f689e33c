/*
 * space: where blocks live. Small requests look through their owner's slabs; what fits none starts
 * a new segment:
 *
 *   reserve  device->pending += size         under the lock: nobody else is promised these bytes
 *   create   the device's owner thread       without it
 *   keep     the vault gets its descriptor   without it
 *   commit   segment record, waiters served  under it
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
#include "service/record.h"
#include "service/sampler.h"
#include "service/segment.h"
#include "service/waiting.h"

#define SPACE_CACHED_PART 16 /* of a device's limit may stay with empty slabs */

struct space_grow {
  struct device_call call;
  struct keeper_drop vault;
  struct service *service;
  uint32_t device, owner;
  uint64_t id, kept; /* of the segment, once it is made */
  uint64_t size;
  uint64_t promised; /* to the waiters, slack for their alignment included */
  enum status status;
  bool dedicated, stalled;
  struct space_waiter *first, **last;
  struct space_grow *next; /* of the service's list of growths */
};

/* ---- taking ---- */

static void count_place(struct service *s, const struct space *place) {
  struct state_segment *segment = state_segment(s, place->segment);
  if (!segment->blocks++)
    segment_fills(s, segment, true);
  segment->allocated += place->size;
}

static bool take_in(struct service *s, struct space_waiter *waiter, uint32_t index) {
  struct state_segment *segment = state_segment(s, index);
  const struct space_want *want = &waiter->want;
  uint64_t pad = segment->span ? 0 : want->pad;
  if (segment->closed || segment->size - segment->allocated < want->size + pad)
    return false;
  struct space place = {.segment = index, .offset = pad, .size = want->size};
  struct span_request request = {want->size, want->alignment, UINT32_MAX};
  if (segment->span && (!span_may_fit(segment->span, want->size, want->alignment) ||
                        span_take(segment->span, &request, &place.node, &place.offset)))
    return false;
  waiter->place = place;
  waiter->fresh = segment->fresh;
  count_place(s, &place);
  return true;
}

enum status space_take_in(struct service *s, uint32_t index, const struct span_request *request,
                          struct space *out) {
  struct state_segment *segment = state_segment(s, index);
  struct span_request wanted = {request->size, request->alignment, UINT32_MAX};
  if (segment->closed || !segment->span)
    return STATUS_NOT_FOUND;
  *out = (struct space){.segment = index, .size = request->size};
  enum status status = span_take(segment->span, &wanted, &out->node, &out->offset);
  if (!status)
    count_place(s, out);
  return status;
}

bool space_take_at(struct service *s, uint32_t index, uint64_t offset, uint64_t size,
                   struct space *out) {
  struct state_segment *segment = state_segment(s, index);
  struct span_request request = {size, 1, UINT32_MAX};
  *out = (struct space){.segment = index, .offset = offset, .size = size};
  if (span_take_at(segment->span, offset, &request, &out->node))
    return false;
  count_place(s, out);
  return true;
}

static bool take_slab(struct service *s, struct space_waiter *waiter) {
  uint32_t i = state_owner(s, waiter->want.owner)->slabs[waiter->want.device];
  for (; i; i = state_segment(s, i)->slab_next) {
    if (!state_segment(s, i)->span || !take_in(s, waiter, i))
      continue;
    segment_first(s, i);
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
    uint64_t size = slab_dedicated_size(want->size + want->pad, granularity);
    return size && size <= room ? size : 0;
  }
  uint64_t size =
      slab_next_size(&(struct slab_want){state_owner(s, want->owner)->committed[want->device],
                                         want->size, want->alignment, device->info->costly});
  uint64_t least = units_up(need_of(want), granularity);
  while (size > room && size / 2 >= least)
    size /= 2;
  if (size > room)
    size = least;
  return units_up(size, granularity) <= room ? units_up(size, granularity) : 0;
}

static bool growth_fits(const struct state_device *device, uint64_t releasing) {
  uint64_t top = units_min(device->limit, device->info->total_bytes);
  return device->committed + device->cached + device->pending + releasing + device->external <= top;
}

/* Empty slabs go until what is pending will fit when they are gone. */
static void make_room(struct service *s, uint32_t index) {
  struct state_device *device = &s->devices[index];
  for (uint32_t i = device->first, next; i && !growth_fits(device, 0); i = next) {
    next = state_segment(s, i)->next;
    if (!state_segment(s, i)->blocks)
      segment_release(s, i, NULL, NULL);
  }
}

static void growth_start(struct service *s, struct space_grow *grow) {
  grow->stalled = false;
  device_start(s->devices[grow->device].device, &grow->call);
}

void space_came_back(struct service *s, uint32_t index) {
  const struct state_device *device = &s->devices[index];
  for (struct space_grow *grow = s->growing; grow; grow = grow->next)
    if (grow->stalled && grow->device == index &&
        (growth_fits(device, device->releasing) || !device->releasing))
      growth_start(s, grow);
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

/* To map a card's segment takes its driver 0.1 ms, and a defragmentation needs dozens. */
static void offer(struct service *s, uint32_t index) {
  const struct state_segment *segment = state_segment(s, index);
  if (!segment->span || !s->devices[segment->device].info->costly || !s->mover || !s->mover->offer)
    return;
  struct mover_segment offered = record_mover_segment(s, index);
  s->mover->offer(s->mover_ctx, &offered);
}

/* The new segment enters the books and serves those who wait for it. */
static enum status growth_commit(struct service *s, struct space_grow *grow) {
  struct span *span = NULL;
  if (!grow->dedicated && span_create(&s->nodes, grow->size, SLAB_GRANULE, &span))
    return STATUS_INSUFFICIENT_MEMORY;
  uint32_t index = segment_add(s, &(struct segment_new){.id = grow->id,
                                                        .kept = grow->kept,
                                                        .device = grow->device,
                                                        .owner = grow->owner,
                                                        .size = grow->size,
                                                        .share = grow->call.share,
                                                        .span = span});
  if (!index) {
    span_free(span);
    return STATUS_INSUFFICIENT_MEMORY;
  }
  grow->call.share.kind = SHARE_NONE;
  for (struct space_waiter *waiter = grow->first; waiter; waiter = waiter->next)
    waiter->status = take_in(s, waiter, index) ? STATUS_OK : STATUS_INSUFFICIENT_MEMORY;
  offer(s, index);
  return STATUS_OK;
}

/* The last step, without the lock. */
static void growth_answer(struct space_grow *grow) {
  struct space_waiter *next;
  for (struct space_waiter *waiter = grow->first; waiter; waiter = next) {
    next = waiter->next;
    if (grow->status)
      waiter->status = grow->status;
    waiter->ready(waiter);
  }
  free(grow);
}

/* What was made but could not be recorded is with the driver again. */
static void growth_undone(struct device_call *call) { growth_answer((struct space_grow *)call); }

/* It gets its id, and the vault its descriptor. */
static void growth_keep(struct service *s, struct space_grow *grow) {
  lock_take(&s->lock);
  grow->id = ledger_next_id(s->ledger);
  lock_give(&s->lock);
  grow->kept = keeper_put(s, &(struct keeper_segment){grow->id, grow->size, grow->call.share});
}

/* Into the books, with its id in order of those that enter before and after. */
static void growth_enter(struct service *s, struct space_grow *grow) {
  struct state_device *device = &s->devices[grow->device];
  enum status made = grow->call.status;
  LOCK_SCOPE(&s->entering);
  if (!made)
    growth_keep(s, grow);
  lock_take(&s->lock);
  growth_unlink(s, grow);
  grow->status = made ? made : growth_commit(s, grow);
  if (made && made != STATUS_INSUFFICIENT_MEMORY)
    device->error_at = clock_now();
  if (made == STATUS_INSUFFICIENT_MEMORY)
    sampler_refused(s, grow->device);
  state_pressure(s);
  if (grow->status)
    waiting_kick(s);
  lock_give(&s->lock);
}

/* It was made but could not be recorded. */
static void growth_undo(struct space_grow *grow) {
  grow->call.action = DEVICE_RELEASE;
  grow->call.done = growth_undone;
  device_start(grow->service->devices[grow->device].device, &grow->call);
}

static void growth_forgotten(struct keeper_drop *drop) {
  growth_undo((struct space_grow *)((char *)drop - offsetof(struct space_grow, vault)));
}

static void growth_made(struct device_call *call) {
  struct space_grow *grow = (struct space_grow *)call;
  struct service *s = grow->service;
  bool made = !call->status;
  growth_enter(s, grow);
  if (grow->status)
    log_warning("service", "%s: no segment of %llu bytes: %s", s->devices[grow->device].info->id,
                (unsigned long long)grow->size, status_text(grow->status));
  grow->vault = (struct keeper_drop){.segment = grow->id, .done = growth_forgotten};
  if (!made || !grow->status)
    growth_answer(grow);
  else if (grow->kept)
    s->keeper->drop(s->keeper_ctx, &grow->vault);
  else
    growth_undo(grow);
}

/* Under the lock: the bytes are promised; the driver is asked now, or when it has back what stands
 * in the way. */
static void growth_begin(struct service *s, struct space_grow *grow) {
  struct state_device *device = &s->devices[grow->device];
  struct space_grow **last = &s->growing; /* in order of arrival: who came first is served first */
  while (*last)
    last = &(*last)->next;
  *last = grow;
  s->growing_count++;
  device->pending += grow->size;
  state_owner(s, grow->owner)->growing++;
  make_room(s, grow->device);
  grow->stalled = !growth_fits(device, device->releasing) && device->releasing;
  if (!grow->stalled)
    growth_start(s, grow);
}

enum status space_take(struct service *s, struct space_waiter *waiter, char reason[16]) {
  const struct space_want *want = &waiter->want;
  waiter->service = s;
  reason[0] = 0;
  if (want->size > s->devices[want->device].limit)
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
  grow->call = (struct device_call){.action = DEVICE_CREATE,
                                    .size = size,
                                    .open = want->open,
                                    .file_bytes = want->open ? want->size + want->pad : 0,
                                    .done = growth_made};
  grow->service = s;
  grow->device = want->device;
  grow->owner = want->owner;
  grow->size = size;
  grow->dedicated = own;
  grow->last = &grow->first;
  growth_join(grow, waiter);
  growth_begin(s, grow);
  return STATUS_PENDING;
}

/* ---- giving back ---- */

/* An empty slab stays for its owner: one in any case, more while they are a small part of the
 * device. */
static bool stays(const struct service *s, const struct state_segment *segment) {
  const struct state_device *device = &s->devices[segment->device];
  const struct state_owner *owner = state_owner(s, segment->owner);
  if (!segment->span || segment->closed || owner->dead)
    return false;
  return owner->empty[segment->device] == 1 || device->cached <= device->limit / SPACE_CACHED_PART;
}

bool space_give(struct service *s, const struct space *place, segment_then_fn *then, void *arg) {
  struct state_segment *segment = state_segment(s, place->segment);
  if (segment->span)
    span_give(segment->span, place->node);
  segment->allocated -= place->size;
  segment->fresh = false;
  if (!--segment->blocks)
    segment_fills(s, segment, false);
  if (segment->blocks || stays(s, segment)) {
    segment_first(s, place->segment);
    return false;
  }
  segment_release(s, place->segment, then, arg);
  return true;
}

struct span *space_give_slab(struct service *s, uint32_t index, segment_then_fn *then, void *arg) {
  struct state_segment *segment = state_segment(s, index);
  struct span *span = segment->span;
  segment->span = NULL;
  segment->allocated = segment->blocks = 0;
  segment_fills(s, segment, false);
  segment_release(s, index, then, arg);
  return span;
}

uint64_t space_release_cached(struct service *s, uint32_t device, segment_then_fn *then, void *arg,
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
    segment_release(s, i, then, arg);
  }
  return bytes;
}

void space_owner_done(struct service *s, uint32_t index) {
  struct state_owner *owner = state_owner(s, index);
  if (!owner->dead || owner->allocations || owner->growing || owner->held)
    return;
  for (uint32_t d = 0; d < s->device_count; d++)
    for (uint32_t i = owner->slabs[d], next; i; i = next) {
      next = state_segment(s, i)->slab_next;
      if (!state_segment(s, i)->blocks)
        segment_release(s, i, NULL, NULL);
    }
  state_owner_forget(s, index);
}

void space_owner_hold(struct service *s, uint32_t index) { state_owner(s, index)->held++; }

void space_owner_let_go(struct service *s, uint32_t index) {
  state_owner(s, index)->held--;
  space_owner_done(s, index);
}
