/*
 * record: making, ending and moving allocations: the record in the ledger, the place, the books,
 * the event. The order of the steps is design 4a's, so that every prefix of them is a legal state.
 */
#include "service/record.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/keys.h"
#include "service/lease.h"
#include "service/quota.h"
#include "service/waiting.h"

#define RECORD_BATCH 256 /* blocks looked at per holding of the lock */
#define RECORD_AHEAD 16  /* places; the work on so many takes longer than a miss */

static struct ledger_record record_of(const struct service *s, const struct space *place,
                                      const struct record_facts *facts) {
  const struct state_owner *owner = state_owner(s, facts->owner);
  uint64_t now = clock_real();
  struct ledger_record record = {
      .kind = LEDGER_ALLOCATION, .id = facts->id, .last_access_real_ns = now};
  record.u.allocation = (struct ledger_allocation){
      .segment = state_segment(s, place->segment)->id,
      .offset_bytes = place->offset,
      .size_bytes = facts->size,
      .owner = owner->id,
      .created_real_ns = facts->created_real_ns ? facts->created_real_ns : now,
      .expires_boot_ns = facts->expires_boot_ns,
      .key_hash = {facts->key[0], facts->key[1]},
      .domain = s->domains[owner->domain].number,
      .key_args = facts->key_args,
      .alignment_log2 = (uint8_t)__builtin_ctzll(facts->alignment),
      .purpose = facts->purpose,
      .priority = facts->priority,
      .flags = facts->flags};
  return record;
}

/* Counts an allocation in (or out of) the figures of its device, owner and domain. */
static void count(struct service *s, uint32_t index, bool enters) {
  const struct state_alloc *alloc = state_alloc(s, index);
  const struct ledger_allocation *facts = state_record(s, alloc);
  struct state_segment *segment = state_segment(s, alloc->segment);
  struct state_device *device = &s->devices[segment->device];
  struct state_owner *owner = state_owner(s, alloc->owner);
  uint64_t one = enters ? 1 : UINT64_MAX, bytes = enters ? facts->size_bytes : -facts->size_bytes;
  owner->allocations += (uint32_t)one;
  if (facts->flags & STATE_PINNED)
    segment->pinned += (uint32_t)one;
  if (facts->flags & STATE_HIDDEN)
    return;
  segment->counted += (uint32_t)one;
  segment->counted_bytes += bytes;
  owner->bytes += bytes;
  device->allocations += (uint32_t)one;
  device->allocated += bytes;
  device->purpose_bytes[facts->purpose] += bytes;
  device->purpose_count[facts->purpose] += one;
}

/* What usage tells later: how large, how long lived, how often. */
static void count_made(struct state_device *device, uint64_t size) {
  struct state_second *second = &device->seconds[device->sample_count % STATE_SAMPLES];
  second->made++;
  second->made_bytes += size;
  unsigned bits = size > 256 ? (unsigned)(64 - __builtin_clzll((size - 1) >> 8)) : 0;
  unsigned bin = (bits + 1) / 2;
  if (bin >= STATE_SIZES)
    bin = STATE_SIZES - 1;
  device->sizes[bin].count++;
  device->sizes[bin].bytes += size;
}

static void count_freed(struct state_device *device, uint64_t lived_ns) {
  device->seconds[device->sample_count % STATE_SAMPLES].freed++;
  unsigned bin = 0;
  for (uint64_t limit = CLOCK_MS; bin < STATE_LIFETIMES - 1 && lived_ns > limit; limit *= 10)
    bin++;
  device->lifetimes[bin]++;
}

static enum status put_label(struct service *s, struct state_alloc *alloc, const char *label,
                             struct ledger_record *record) {
  if (!label || !label[0])
    return STATUS_OK;
  alloc->label = strdup(label);
  if (!alloc->label)
    return STATUS_INSUFFICIENT_MEMORY;
  return ledger_put_text(s->ledger, label, strlen(label), &record->u.allocation.text,
                         &alloc->text_slot);
}

static void forget_label(struct service *s, struct state_alloc *alloc) {
  for (uint32_t slot = alloc->text_slot, next; slot; slot = next) {
    next = ledger_next_text(s->ledger, slot);
    ledger_drop(s->ledger, slot);
  }
  free(alloc->label);
}

static enum status put(struct service *s, struct state_alloc *alloc, struct ledger_record *record) {
  if (!record->id)
    record->id = ledger_next_id(s->ledger);
  enum status status = ledger_put(s->ledger, record, &alloc->slot);
  if (!status)
    alloc->id = record->id;
  return status;
}

enum status record_commit(struct service *s, const struct space *place,
                          const struct record_facts *facts, uint32_t *out) {
  state_ledger_ahead(s);
  uint32_t index = pool_take(&s->allocs);
  if (!index)
    return STATUS_INSUFFICIENT_MEMORY;
  struct state_alloc *alloc = state_alloc(s, index);
  struct ledger_record record = record_of(s, place, facts);
  enum status status = put_label(s, alloc, facts->label, &record);
  if (!status)
    status = put(s, alloc, &record);
  if (!status && !idmap_append(&s->alloc_ids, alloc->id, index)) {
    ledger_drop(s->ledger, alloc->slot);
    status = STATUS_INSUFFICIENT_MEMORY;
  }
  if (status) {
    forget_label(s, alloc);
    pool_give(&s->allocs, index);
    return STATUS_INSUFFICIENT_MEMORY;
  }
  alloc->node = place->node;
  alloc->segment = place->segment;
  alloc->owner = facts->owner;
  struct state_segment *segment = state_segment(s, place->segment);
  if (segment->span)
    span_set_user(segment->span, place->node, index);
  else
    segment->alloc = index;
  keys_add(s, index);
  count(s, index, true);
  count_made(&s->devices[segment->device], facts->size);
  state_alloc_event(s, index, EVENTS_ALLOCATION_CREATED, facts->correlation);
  if (facts->expires_boot_ns)
    lease_add(s, index);
  *out = index;
  return STATUS_OK;
}

enum status record_adopt(struct service *s, const struct record_left *left, uint32_t *out) {
  const struct ledger_record *record = ledger_at(s->ledger, left->slot);
  uint32_t index = pool_take(&s->allocs);
  if (!index)
    return STATUS_INSUFFICIENT_MEMORY;
  struct state_alloc *alloc = state_alloc(s, index);
  alloc->id = record->id;
  alloc->slot = left->slot;
  alloc->text_slot = left->text_slot;
  alloc->segment = left->segment;
  alloc->owner = left->owner;
  alloc->label = left->label[0] ? strdup(left->label) : NULL;
  if ((left->label[0] && !alloc->label) || !idmap_append(&s->alloc_ids, alloc->id, index)) {
    free(alloc->label);
    pool_give(&s->allocs, index);
    return STATUS_INSUFFICIENT_MEMORY;
  }
  keys_add(s, index);
  count(s, index, true);
  quota_adopt(s, left->owner, record->u.allocation.size_bytes);
  if (record->u.allocation.expires_boot_ns)
    lease_add(s, index);
  *out = index;
  return STATUS_OK;
}

bool record_adopt_place(struct service *s, uint32_t index) {
  struct state_alloc *alloc = state_alloc(s, index);
  struct state_segment *segment = state_segment(s, alloc->segment);
  struct space place = record_place(s, index);
  if (segment->span) {
    if (!space_take_at(s, alloc->segment, place.offset, place.size, &place))
      return false;
    span_set_user(segment->span, place.node, index);
    alloc->node = place.node;
    return true;
  }
  segment->alloc = index;
  segment->allocated = place.size;
  if (!segment->blocks++)
    segment_fills(s, segment, true);
  return true;
}

struct space record_place(const struct service *s, uint32_t index) {
  const struct state_alloc *alloc = state_alloc(s, index);
  const struct ledger_allocation *facts = state_record(s, alloc);
  return (struct space){alloc->segment, alloc->node, facts->offset_bytes, facts->size_bytes};
}

bool record_drop(struct service *s, uint32_t index, const struct record_end *end) {
  struct state_alloc *alloc = state_alloc(s, index);
  const struct ledger_allocation *facts = state_record(s, alloc);
  struct space place = record_place(s, index);
  uint32_t owner = alloc->owner;
  count_freed(&s->devices[state_segment(s, alloc->segment)->device],
              units_minus(clock_real(), facts->created_real_ns));
  state_alloc_event(s, index, end->why, end->correlation);
  keys_remove(s, index);
  lease_remove(s, index);
  count(s, index, false);
  quota_uncharge(s, owner, facts->size_bytes);
  idmap_erase(&s->alloc_ids, alloc->id);
  ledger_drop(s->ledger, alloc->slot);
  forget_label(s, alloc);
  pool_give(&s->allocs, index);
  bool released = space_give(s, &place, end->then, end->arg);
  waiting_kick(s);
  if (state_owner(s, owner)->dead)
    space_owner_done(s, owner);
  return released;
}

static bool goes_with_owner(const struct service *s, const struct state_alloc *alloc) {
  return !(state_record(s, alloc)->flags & STATE_PERSISTENT) && !alloc->busy && !alloc->moving;
}

void record_let_go(struct service *s, uint32_t index) {
  const struct state_alloc *alloc = state_alloc(s, index);
  if (state_owner(s, alloc->owner)->dead && goes_with_owner(s, alloc))
    record_drop(s, index, &(struct record_end){.why = EVENTS_ALLOCATION_FREED});
}

bool record_is_orphan(const struct service *s, const struct record_facts *facts) {
  return state_owner(s, facts->owner)->dead && !(facts->flags & STATE_PERSISTENT);
}

bool record_walk_resume(struct service *s, struct record_walk *walk) {
  walk->index = idmap_find(&s->segment_ids, walk->segment);
  walk->node = 0;
  uint32_t anchor = idmap_find(&s->alloc_ids, walk->anchor);
  if (walk->index && anchor && state_alloc(s, anchor)->segment == walk->index)
    walk->node = state_alloc(s, anchor)->node;
  return walk->index != 0;
}

bool record_walk_next(struct service *s, struct record_walk *walk, struct span_block *block) {
  const struct state_segment *segment = state_segment(s, walk->index);
  if (!segment->span) {
    *block = (struct span_block){0, segment->allocated, segment->alloc, true};
    return segment->alloc && !walk->offset++;
  }
  do
    walk->node = span_next(segment->span, walk->node, block);
  while (walk->node && (!block->used || block->offset < walk->offset));
  if (!walk->node)
    return false;
  walk->offset = block->offset + 1;
  if (block->user != UINT32_MAX)
    walk->anchor = state_alloc(s, block->user)->id;
  return true;
}

/* The owner's segment with the next higher id. */
static bool next_segment(const struct service *s, uint32_t owner, struct record_walk *walk) {
  const struct idmap_entry *entry = idmap_next(&s->segment_ids, walk->segment);
  while (entry && state_segment(s, entry->value)->owner != owner)
    entry = idmap_next(&s->segment_ids, entry->id);
  *walk = (struct record_walk){.segment = entry ? entry->id : UINT64_MAX};
  return entry != NULL;
}

bool record_drop_some(struct service *s, uint32_t owner, struct record_walk *walk) {
  uint64_t victims[RECORD_BATCH], kept = walk->anchor;
  uint32_t looked = 0, count = 0;
  struct span_block block;
  if (!record_walk_resume(s, walk))
    return next_segment(s, owner, walk);
  for (; looked < RECORD_BATCH && record_walk_next(s, walk, &block); looked++) {
    if (block.user == UINT32_MAX)
      continue;
    const struct state_alloc *alloc = state_alloc(s, block.user);
    if (goes_with_owner(s, alloc))
      victims[count++] = alloc->id;
    else
      kept = alloc->id;
  }
  for (uint32_t i = 0; i < count; i++)
    record_drop(s, idmap_find(&s->alloc_ids, victims[i]),
                &(struct record_end){.why = EVENTS_ALLOCATION_FREED});
  walk->anchor = kept;
  return looked == RECORD_BATCH || next_segment(s, owner, walk);
}

enum status record_switch(struct service *s, uint32_t index, const struct space *to,
                          struct space *from) {
  struct state_alloc *alloc = state_alloc(s, index);
  struct ledger_record record = *ledger_at(s->ledger, alloc->slot);
  record.u.allocation.segment = state_segment(s, to->segment)->id;
  record.u.allocation.offset_bytes = to->offset;
  *from = record_place(s, index);
  count(s, index, false);
  enum status status = ledger_replace(s->ledger, &alloc->slot, &record);
  if (!status) {
    alloc->segment = to->segment;
    alloc->node = to->node;
    struct state_segment *segment = state_segment(s, to->segment);
    if (segment->span)
      span_set_user(segment->span, to->node, index);
    else
      segment->alloc = index;
  }
  count(s, index, true);
  return status;
}

enum status record_usable(const struct service *s, uint32_t index, struct problem *problem) {
  const struct state_alloc *alloc = state_alloc(s, index);
  if (state_is_lost(s, alloc))
    return problem_set(problem, STATUS_ALLOCATION_LOST,
                       "the memory of this allocation is gone, or out of reach with its card");
  if (alloc->moving)
    return problem_set(problem, STATUS_ALLOCATION_BUSY, "the allocation is being moved");
  return STATUS_OK;
}

bool record_movable(const struct service *s, uint32_t index) {
  const struct state_alloc *alloc = state_alloc(s, index);
  return !alloc->busy && !alloc->moving && !alloc->attachments &&
         !(state_record(s, alloc)->flags & STATE_PINNED);
}

static void bring(const void *bytes, size_t size) {
  __builtin_prefetch(bytes);
  __builtin_prefetch((const char *)bytes + size - 1);
}

void record_bring(const struct service *s, const uint32_t *indices, uint32_t count, uint32_t at) {
  uint32_t near = at + RECORD_AHEAD, far = near + RECORD_AHEAD, i = at ? near : 0;
  for (; i <= near && i < count; i++) /* at the first all those as well that are nearer */
    bring(ledger_at(s->ledger, state_alloc(s, indices[i])->slot), sizeof(struct ledger_record));
  for (i = at ? far : i; i <= far && i < count; i++)
    bring(state_alloc(s, indices[i]), sizeof(struct state_alloc));
}

void record_touch(struct service *s, uint32_t index) {
  ledger_touch(s->ledger, state_alloc(s, index)->slot, clock_real());
}

struct mover_segment record_mover_segment(struct service *s, uint32_t index) {
  struct state_segment *segment = state_segment(s, index);
  segment->sent = true;
  return (struct mover_segment){.id = segment->id,
                                .size = segment->size,
                                .device_id = s->devices[segment->device].info->id,
                                .share = &segment->share};
}
