/*
 * attachment: an attachment is a record in the ledger and an entry here, found by its holder and
 * its allocation. A holder is a connection, or (connection 0) a process to which an earlier daemon
 * left some; each is in the list of its owner, who stays as long as it does, because records name
 * him.
 *
 * How many attachments a segment has is kept apart from it, in `held`, because they may outlive it.
 */
#include "service/attachment.h"

#include <stdlib.h>

#include "service/attach.h"
#include "service/lease.h"
#include "service/space.h"

#define ATTACHMENT_MAX (UINT32_C(1) << 20) /* of all connections */
#define ATTACHMENT_HOLDERS (UINT32_C(1) << 17)
#define ATTACHMENT_OF_ONE UINT16_MAX /* of one allocation: what its counter holds */
#define ATTACHMENT_BUCKET_BITS 16
#define ATTACHMENT_BATCH 256 /* per holding of the lock */

struct attachment {
  uint64_t allocation;
  uint32_t slot, holder, held;
  uint32_t same;           /* chain of its bucket */
  uint32_t next, previous; /* of its holder, the newest first */
  bool writable;
};

struct holder {
  uint64_t connection; /* 0: a process's, from an earlier daemon */
  uint32_t owner, first, count;
  uint32_t same;           /* chain of its bucket */
  uint32_t next, previous; /* of its owner */
};

struct held {
  uint64_t size;
  uint32_t segment, device, count;
  bool gone; /* the segment is: it lingers */
};

struct attachment_table {
  struct pool attachments, holders, helds;
  uint32_t buckets[1U << ATTACHMENT_BUCKET_BITS]; /* attachments by holder and allocation */
  uint32_t connections[1U << ATTACHMENT_BUCKET_BITS];
};

static struct attachment *attachment_at(const struct service *s, uint32_t index) {
  return pool_at(&s->attach->attachments, index);
}
static struct holder *holder_at(const struct service *s, uint32_t index) {
  return pool_at(&s->attach->holders, index);
}
static struct held *held_at(const struct service *s, uint32_t index) {
  return pool_at(&s->attach->helds, index);
}

/* ---- life ---- */

enum status attachment_create(struct service *s) {
  s->attach = calloc(1, sizeof *s->attach);
  if (!s->attach)
    return STATUS_INTERNAL_ERROR;
  enum status status =
      pool_init(&s->attach->attachments, sizeof(struct attachment), ATTACHMENT_MAX);
  if (!status)
    status = pool_init(&s->attach->holders, sizeof(struct holder), ATTACHMENT_HOLDERS);
  if (!status)
    status = pool_init(&s->attach->helds, sizeof(struct held), ATTACHMENT_MAX);
  return status;
}

void attachment_free(struct service *s) {
  if (!s->attach)
    return;
  pool_done(&s->attach->attachments);
  pool_done(&s->attach->holders);
  pool_done(&s->attach->helds);
  free(s->attach);
}

/* ---- holders ---- */

static uint32_t hash(uint64_t value) {
  return (uint32_t)(value * UINT64_C(0x9e3779b97f4a7c15) >> (64 - ATTACHMENT_BUCKET_BITS));
}

static uint32_t holder_find(const struct service *s, uint64_t connection) {
  uint32_t index = connection ? s->attach->connections[hash(connection)] : 0;
  while (index && holder_at(s, index)->connection != connection)
    index = holder_at(s, index)->same;
  return index;
}

/* What an earlier daemon left to the process. */
static uint32_t holder_left(const struct service *s, uint32_t owner) {
  uint32_t index = state_owner(s, owner)->holders;
  while (index && holder_at(s, index)->connection)
    index = holder_at(s, index)->next;
  return index;
}

/* 0: no room. */
static uint32_t holder_make(struct service *s, uint64_t connection, uint32_t owner) {
  uint32_t index = pool_take(&s->attach->holders);
  if (!index)
    return 0;
  struct holder *holder = holder_at(s, index);
  holder->connection = connection;
  holder->owner = owner;
  if (connection) {
    uint32_t *bucket = &s->attach->connections[hash(connection)];
    holder->same = *bucket;
    *bucket = index;
  }
  uint32_t *head = &state_owner(s, owner)->holders;
  holder->next = *head;
  if (*head)
    holder_at(s, *head)->previous = index;
  *head = index;
  space_owner_hold(s, owner);
  return index;
}

static void holder_forget(struct service *s, uint32_t index) {
  struct holder *holder = holder_at(s, index);
  uint32_t owner = holder->owner;
  if (holder->connection) {
    uint32_t *link = &s->attach->connections[hash(holder->connection)];
    while (*link != index)
      link = &holder_at(s, *link)->same;
    *link = holder->same;
  }
  if (holder->previous)
    holder_at(s, holder->previous)->next = holder->next;
  else
    state_owner(s, owner)->holders = holder->next;
  if (holder->next)
    holder_at(s, holder->next)->previous = holder->previous;
  pool_give(&s->attach->holders, index);
  space_owner_let_go(s, owner);
}

/* The connection's; 0: no room. */
static uint32_t holder_of(struct service *s, const struct caller *caller) {
  uint32_t index = holder_find(s, caller->connection);
  if (index)
    return index;
  uint32_t owner = lease_owner(s, caller, caller->pid, caller->pid_start);
  return owner ? holder_make(s, caller->connection, owner) : 0;
}

/* ---- attachments ---- */

static uint32_t *bucket_of(const struct service *s, uint32_t holder, uint64_t allocation) {
  return &s->attach->buckets[hash(allocation ^ (uint64_t)holder << 32)];
}

static uint32_t next_same(const struct service *s, uint32_t index, uint32_t holder,
                          uint64_t allocation) {
  while (index && (attachment_at(s, index)->holder != holder ||
                   attachment_at(s, index)->allocation != allocation))
    index = attachment_at(s, index)->same;
  return index;
}

/* The newest; 0: none. */
static uint32_t find(const struct service *s, uint32_t holder, uint64_t allocation) {
  return holder ? next_same(s, *bucket_of(s, holder, allocation), holder, allocation) : 0;
}

static void link_to(struct service *s, uint32_t index, uint32_t holder_index) {
  struct attachment *attachment = attachment_at(s, index);
  struct holder *holder = holder_at(s, holder_index);
  uint32_t *bucket = bucket_of(s, holder_index, attachment->allocation);
  attachment->holder = holder_index;
  attachment->same = *bucket;
  *bucket = index;
  attachment->previous = 0;
  attachment->next = holder->first;
  if (holder->first)
    attachment_at(s, holder->first)->previous = index;
  holder->first = index;
  holder->count++;
}

/* The holder may be gone afterwards. */
static void unlink_from(struct service *s, uint32_t index) {
  struct attachment *attachment = attachment_at(s, index);
  struct holder *holder = holder_at(s, attachment->holder);
  uint32_t *link = bucket_of(s, attachment->holder, attachment->allocation);
  while (*link != index)
    link = &attachment_at(s, *link)->same;
  *link = attachment->same;
  if (attachment->previous)
    attachment_at(s, attachment->previous)->next = attachment->next;
  else
    holder->first = attachment->next;
  if (attachment->next)
    attachment_at(s, attachment->next)->previous = attachment->previous;
  if (!--holder->count)
    holder_forget(s, attachment->holder);
}

static uint32_t hold_segment(struct service *s, uint32_t segment_index) {
  struct state_segment *segment = state_segment(s, segment_index);
  if (!segment->held) {
    segment->held = pool_take(&s->attach->helds);
    if (!segment->held)
      return 0;
    *held_at(s, segment->held) =
        (struct held){.size = segment->size, .segment = segment_index, .device = segment->device};
  }
  held_at(s, segment->held)->count++;
  return segment->held;
}

static void let_segment_go(struct service *s, uint32_t index) {
  struct held *held = held_at(s, index);
  if (--held->count)
    return;
  if (held->gone)
    s->devices[held->device].lingering -= held->size;
  else
    state_segment(s, held->segment)->held = 0;
  pool_give(&s->attach->helds, index);
}

void attachment_segment_leaves(struct service *s, const struct state_segment *segment) {
  if (!segment->held)
    return;
  held_at(s, segment->held)->gone = true;
  s->devices[segment->device].lingering += segment->size;
}

/* What is attached may be gone already: then its size and purpose are not known any more. */
static void tell(struct service *s, uint32_t index, enum events_type type,
                 const char *correlation) {
  const struct attachment *attachment = attachment_at(s, index);
  const struct state_owner *owner = state_owner(s, holder_at(s, attachment->holder)->owner);
  uint32_t alloc = idmap_find(&s->alloc_ids, attachment->allocation);
  struct events_record event = {.type = (uint8_t)type,
                                .subject = attachment->allocation,
                                .other = (uint64_t)owner->pid,
                                .device = (uint8_t)(held_at(s, attachment->held)->device + 1),
                                .detail = UINT8_MAX};
  if (correlation)
    events_set_text(&event, correlation);
  if (!alloc) {
    events_add(s->events, &event);
    return;
  }
  const struct ledger_allocation *facts = state_record(s, state_alloc(s, alloc));
  event.bytes = facts->size_bytes;
  event.detail = facts->purpose;
  event.before = state_alloc(s, alloc)->last_event;
  state_alloc(s, alloc)->last_event = events_add(s->events, &event);
}

void attachment_drop(struct service *s, uint32_t index, const char *correlation) {
  tell(s, index, EVENTS_ALLOCATION_DETACHED, correlation);
  struct attachment *attachment = attachment_at(s, index);
  uint32_t alloc = idmap_find(&s->alloc_ids, attachment->allocation);
  ledger_drop(s->ledger, attachment->slot);
  if (alloc) {
    state_alloc(s, alloc)->attachments--;
    state_alloc(s, alloc)->writers -= attachment->writable;
  }
  let_segment_go(s, attachment->held);
  unlink_from(s, index);
  pool_give(&s->attach->attachments, index);
}

/* Of an allocation, recorded in `slot`. 0: no room, nothing changed. */
static uint32_t enter(struct service *s, uint32_t holder, uint32_t alloc_index, uint32_t slot) {
  struct state_alloc *alloc = state_alloc(s, alloc_index);
  bool room = alloc->attachments < ATTACHMENT_OF_ONE;
  uint32_t index = room ? pool_take(&s->attach->attachments) : 0;
  uint32_t held = index ? hold_segment(s, alloc->segment) : 0;
  if (!held) {
    if (index)
      pool_give(&s->attach->attachments, index);
    return 0;
  }
  struct attachment *attachment = attachment_at(s, index);
  attachment->allocation = alloc->id;
  attachment->slot = slot;
  attachment->held = held;
  attachment->writable = ledger_at(s->ledger, slot)->u.attachment.writable;
  link_to(s, index, holder);
  alloc->attachments++;
  alloc->writers += attachment->writable;
  alloc->writers_met += attachment->writable;
  return index;
}

/* 0: no room. */
static uint32_t put(struct service *s, uint32_t holder, uint32_t alloc, bool writable) {
  const struct state_owner *owner = state_owner(s, holder_at(s, holder)->owner);
  struct ledger_record record = {.kind = LEDGER_ATTACHMENT, .id = ledger_next_id(s->ledger)};
  uint32_t slot;
  record.u.attachment = (struct ledger_attachment){.allocation = state_alloc(s, alloc)->id,
                                                   .owner = owner->id,
                                                   .pid_start = owner->pid_start,
                                                   .pid = (uint32_t)owner->pid,
                                                   .writable = writable};
  state_ledger_ahead(s);
  if (ledger_put(s->ledger, &record, &slot))
    return 0;
  uint32_t index = enter(s, holder, alloc, slot);
  if (!index)
    ledger_drop(s->ledger, slot);
  return index;
}

bool attachment_add(struct service *s, const struct caller *caller, uint32_t alloc, bool writable) {
  uint32_t holder = holder_of(s, caller);
  if (!holder || holder_at(s, holder)->count >= ATTACH_CONNECTION)
    return false;
  uint32_t index = put(s, holder, alloc, writable);
  if (index) {
    tell(s, index, EVENTS_ALLOCATION_ATTACHED, caller->correlation);
    return true;
  }
  if (!holder_at(s, holder)->count)
    holder_forget(s, holder);
  return false;
}

uint32_t attachment_find(const struct service *s, uint64_t connection, uint64_t allocation) {
  return find(s, holder_find(s, connection), allocation);
}

uint32_t attachment_count(const struct service *s, uint64_t connection, uint64_t allocation) {
  uint32_t holder = holder_find(s, connection), count = 0;
  for (uint32_t i = find(s, holder, allocation); i;
       i = next_same(s, attachment_at(s, i)->same, holder, allocation))
    count++;
  return count;
}

uint32_t attachment_pids(const struct service *s, uint64_t allocation, int32_t *pids,
                         uint32_t max) {
  uint32_t count = 0;
  const struct idmap_entry *entry = idmap_next(&s->owner_ids, 0);
  for (; entry && count < max; entry = idmap_next(&s->owner_ids, entry->id)) {
    const struct state_owner *owner = state_owner(s, entry->value);
    uint32_t holder = owner->pid ? owner->holders : 0;
    while (holder && !find(s, holder, allocation))
      holder = holder_at(s, holder)->next;
    if (holder)
      pids[count++] = owner->pid;
  }
  return count;
}

static bool drop_of(struct service *s, uint32_t holder) {
  uint32_t count = holder ? holder_at(s, holder)->count : 0;
  for (uint32_t i = 0; i < count && i < ATTACHMENT_BATCH; i++)
    attachment_drop(s, holder_at(s, holder)->first, NULL);
  return count > ATTACHMENT_BATCH;
}

bool attachment_drop_some(struct service *s, uint64_t connection) {
  return drop_of(s, holder_find(s, connection));
}

bool attachment_bury_some(struct service *s, uint32_t owner) {
  return drop_of(s, state_owner(s, owner)->holders) || state_owner(s, owner)->holders;
}

/* ---- left by an earlier daemon ---- */

bool attachment_adopt(struct service *s, uint32_t slot, uint32_t alloc, uint32_t owner) {
  uint32_t holder = holder_left(s, owner);
  if (!holder)
    holder = holder_make(s, 0, owner);
  return holder && enter(s, holder, alloc, slot);
}

static uint32_t left_to(struct service *s, const struct caller *caller) {
  uint32_t owner = lease_owner(s, caller, caller->pid, caller->pid_start);
  return owner ? holder_left(s, owner) : 0;
}

bool attachment_take_left(struct service *s, const struct caller *caller,
                          const struct attachment_kind *kind) {
  uint32_t left = left_to(s, caller), first = find(s, left, kind->allocation), index = first;
  while (index && attachment_at(s, index)->writable != kind->writable)
    index = next_same(s, attachment_at(s, index)->same, left, kind->allocation);
  index = index ? index : first;
  uint32_t holder = index ? holder_of(s, caller) : 0;
  /* The record names the owner: a connection that belongs to another one cannot have it. */
  if (!holder || holder_at(s, holder)->owner != holder_at(s, left)->owner ||
      holder_at(s, holder)->count >= ATTACH_CONNECTION)
    return false;
  unlink_from(s, index);
  link_to(s, index, holder);
  return true;
}

bool attachment_drop_left(struct service *s, const struct caller *caller) {
  return drop_of(s, left_to(s, caller));
}
