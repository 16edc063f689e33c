/*
 * state: lookups, owners, and the figures of a device (contract 2, the table by kind of device).
 *
 * A driver's figure is a sample, ours are live. So that the two do not contradict each other
 * between samples, what others hold on a card is computed once per sample (driver's used - ours at
 * that moment) and added to our live figures.
 */
#include "service/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/units.h"
#include "memory/slab.h"
#include "service/model_room.h"
#include "service/worker_relief.h"

#define STATE_LEDGER_AHEAD                                                                         \
  8192 /* 80 ms of 100,000 allocations a second; growing takes a few ms                            \
        */

enum status state_find_device(const struct service *s, const char *name, uint32_t *index,
                              struct problem *problem) {
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct device_info *info = s->devices[i].info;
    bool named = strcmp(name, info->id) == 0 ||
                 (info->uuid[0] && strcasecmp(name, info->uuid) == 0) ||
                 (info->pci[0] && strcasecmp(name, info->pci) == 0);
    if (!named)
      continue;
    *index = i;
    return STATUS_OK;
  }
  problem_set(problem, STATUS_DEVICE_NOT_FOUND, "no device %.60s", name);
  snprintf(problem->subject, sizeof problem->subject, "%s", name);
  size_t used = 0;
  for (uint32_t i = 0; i < s->device_count && used < sizeof problem->allowed; i++)
    used += (size_t)snprintf(problem->allowed + used, sizeof problem->allowed - used, "%s%s",
                             i ? "," : "", s->devices[i].info->id);
  return STATUS_DEVICE_NOT_FOUND;
}

enum status state_find_alloc(struct service *s, const struct caller *caller, uint64_t id,
                             uint32_t *index, struct problem *problem) {
  uint32_t found = id ? idmap_find(&s->alloc_ids, id) : 0;
  char text[ID_SIZE];
  id_format(ID_ALLOCATION, id, text);
  if (!found) {
    problem_set(problem, STATUS_ALLOCATION_NOT_FOUND, "no allocation %s", id ? text : "of that id");
    if (id)
      snprintf(problem->subject, sizeof problem->subject, "%s", text);
    return STATUS_ALLOCATION_NOT_FOUND;
  }
  const struct state_owner *owner = state_owner(s, state_alloc(s, found)->owner);
  if (caller && caller->role != CALLER_ADMIN && s->domains[owner->domain].number != caller->domain)
    return problem_set(problem, STATUS_FORBIDDEN, "allocation %s belongs to %s", text,
                       s->domains[owner->domain].name);
  *index = found;
  return STATUS_OK;
}

static bool domain_is(const struct state_domain *domain, const struct caller *caller) {
  if (domain->number != STATE_DOMAIN_UNKNOWN && caller->domain != STATE_DOMAIN_UNKNOWN)
    return domain->number == caller->domain;
  return !strcmp(domain->name, caller->domain_name);
}

uint32_t state_domain_of(struct service *s, const struct caller *caller) {
  for (uint32_t i = 0; i < s->domain_count; i++) {
    if (!domain_is(&s->domains[i], caller))
      continue;
    if (caller->domain != STATE_DOMAIN_UNKNOWN)
      s->domains[i].number = caller->domain;
    return i;
  }
  if (s->domain_count == STATE_DOMAINS)
    return UINT32_MAX;
  struct state_domain *domain = &s->domains[s->domain_count];
  *domain = (struct state_domain){
      .number = caller->domain, .max_bytes = UINT64_MAX, .max_allocations = UINT64_MAX};
  memcpy(domain->name, caller->domain_name, sizeof domain->name);
  return s->domain_count++;
}

bool state_owner_is(const struct state_owner *owner, const char *id_or_name) {
  char id[ID_SIZE];
  return !strcmp(id_or_name, owner->name) || !strcmp(id_or_name, id_format('o', owner->id, id));
}

static bool owner_is(const struct state_owner *owner, uint32_t domain, int32_t pid,
                     uint64_t start) {
  return owner->domain == domain && owner->pid == pid && owner->pid_start == start && !owner->dead;
}

static uint32_t *owner_bucket(struct service *s, uint32_t domain, int32_t pid) {
  uint64_t mixed = ((uint64_t)domain << 32 | (uint32_t)pid) * UINT64_C(0x9e3779b97f4a7c15);
  return &s->owner_buckets[mixed >> 50];
}

static uint32_t owner_find(struct service *s, uint32_t domain, int32_t pid, uint64_t start) {
  uint32_t index = *owner_bucket(s, domain, pid);
  while (index && !owner_is(state_owner(s, index), domain, pid, start))
    index = state_owner(s, index)->next;
  return index;
}

/* Into the tables. False: no room, nothing happened. */
static bool owner_enter(struct service *s, uint32_t index) {
  struct state_owner *owner = state_owner(s, index);
  if (!idmap_append(&s->owner_ids, owner->id, index))
    return false;
  memcpy(owner->name, s->domains[owner->domain].name, sizeof owner->name);
  uint32_t *bucket = owner_bucket(s, owner->domain, owner->pid);
  owner->next = *bucket;
  *bucket = index;
  return true;
}

static void owner_drop_text(struct service *s, struct state_owner *owner) {
  for (uint32_t slot = owner->text_slot, next; slot; slot = next) {
    next = ledger_next_text(s->ledger, slot);
    ledger_drop(s->ledger, slot);
  }
}

/* A uid says its own name; a token's must be kept. */
static enum status owner_put_text(struct service *s, struct state_owner *owner, uint64_t *text) {
  const char *name = s->domains[owner->domain].name;
  *text = 0;
  if (!strncmp(name, "uid:", 4))
    return STATUS_OK;
  return ledger_put_text(s->ledger, name, strlen(name), text, &owner->text_slot);
}

static uint32_t owner_make(struct service *s, uint32_t domain, int32_t pid, uint64_t start) {
  uint32_t index = pool_take(&s->owners);
  if (!index)
    return 0;
  struct state_owner *owner = state_owner(s, index);
  owner->kind = pid ? VIEW_OWNER_PROCESS : start ? VIEW_OWNER_MODEL : VIEW_OWNER_API;
  owner->pid = pid;
  owner->pid_start = start;
  owner->domain = domain;
  struct ledger_record record = {.kind = LEDGER_OWNER};
  record.u.owner = (struct ledger_owner){.pid_start = start,
                                         .created_real_ns = clock_real(),
                                         .pid = (uint32_t)pid,
                                         .uid = s->domains[domain].number,
                                         .kind = (uint8_t)owner->kind};
  bool recorded = !owner_put_text(s, owner, &record.u.owner.text);
  owner->id = record.id = ledger_next_id(s->ledger);
  recorded = recorded && !ledger_put(s->ledger, &record, &owner->slot);
  if (recorded && owner_enter(s, index))
    return index;
  if (recorded)
    ledger_drop(s->ledger, owner->slot);
  owner_drop_text(s, owner);
  pool_give(&s->owners, index);
  return 0;
}

uint32_t state_owner_adopt(struct service *s, uint32_t slot, const char *domain_name) {
  const struct ledger_record *record = ledger_at(s->ledger, slot);
  const struct ledger_owner *facts = &record->u.owner;
  struct caller caller = {.domain = facts->uid};
  if (domain_name[0])
    snprintf(caller.domain_name, sizeof caller.domain_name, "%s", domain_name);
  else
    snprintf(caller.domain_name, sizeof caller.domain_name, "uid:%u", (unsigned)facts->uid);
  uint32_t domain = state_domain_of(s, &caller);
  uint32_t index = domain == UINT32_MAX ? 0 : pool_take(&s->owners);
  if (!index)
    return 0;
  struct state_owner *owner = state_owner(s, index);
  owner->id = record->id;
  owner->slot = slot;
  owner->kind = facts->kind;
  owner->pid = (int32_t)facts->pid;
  owner->pid_start = facts->pid_start;
  owner->domain = domain;
  if (owner_enter(s, index))
    return index;
  pool_give(&s->owners, index);
  return 0;
}

void state_owner_forget(struct service *s, uint32_t index) {
  struct state_owner *owner = state_owner(s, index);
  uint32_t *link = owner_bucket(s, owner->domain, owner->pid);
  while (*link != index)
    link = &state_owner(s, *link)->next;
  *link = owner->next;
  idmap_erase(&s->owner_ids, owner->id);
  ledger_drop(s->ledger, owner->slot);
  owner_drop_text(s, owner);
  pool_give(&s->owners, index);
}

uint32_t state_owner_of(struct service *s, const struct caller *caller, int32_t pid,
                        uint64_t pid_start) {
  uint32_t domain = state_domain_of(s, caller);
  if (domain == UINT32_MAX)
    return 0;
  uint32_t owner = owner_find(s, domain, pid, pid_start);
  return owner ? owner : owner_make(s, domain, pid, pid_start);
}

/* What all host devices together may still promise: available RAM less what was promised and not
 * yet touched. */
uint64_t state_host_room(const struct service *s, const struct state_device *device) {
  uint64_t promised = 0, resident = 0, cached = 0;
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *other = &s->devices[i];
    if (!other->info->host_memory)
      continue;
    promised += other->committed + other->cached + other->pending;
    resident += other->resident;
    cached += other->resident_cached;
  }
  return units_minus(device->budget.free_bytes + cached, units_minus(promised, resident));
}

void state_take_budget(struct state_device *device, const struct device_budget *budget) {
  device->budget = *budget;
  device->budget_real = clock_real();
  device->silent = budget->used_bytes == DEVICE_BYTES_UNKNOWN;
  uint64_t ours =
      device->committed + device->cached + device->releasing + device->pending + device->lingering;
  uint64_t used = units_min(budget->used_bytes, device->info->total_bytes);
  device->external = device->info->host_memory || device->silent ? 0 : units_minus(used, ours);
}

uint64_t state_used(const struct service *s, const struct state_device *device) {
  (void)s;
  if (device->info->whole_host)
    return device->budget.used_bytes;
  return device->committed + device->cached + device->external;
}

uint64_t state_available(const struct service *s, const struct state_device *device) {
  uint64_t within = units_minus(device->limit, device->committed + device->pending);
  uint64_t room =
      device->info->host_memory
          ? state_host_room(s, device)
          : units_minus(device->info->total_bytes, device->info->kept_bytes + device->external +
                                                       device->committed + device->pending);
  return units_minus(units_min(within, room), device->reserved);
}

uint64_t state_owner_bytes(const struct service *s, const struct state_owner *owner,
                           uint32_t device, uint64_t *count) {
  uint64_t bytes = 0;
  *count = 0;
  for (uint32_t i = owner->slabs[device]; i; i = state_segment(s, i)->slab_next) {
    bytes += state_segment(s, i)->counted_bytes;
    *count += state_segment(s, i)->counted;
  }
  return bytes;
}

uint64_t state_largest(const struct service *s, const struct state_device *device) {
  uint64_t largest = state_available(s, device);
  /* No slab is longer than this, so the walk is only needed when there is less. */
  if (largest >= SLAB_MAX)
    return largest;
  for (uint32_t i = device->first; i; i = state_segment(s, i)->next) {
    const struct state_segment *segment = state_segment(s, i);
    if (!segment->span || segment->size - segment->allocated <= largest)
      continue;
    largest = units_max(largest, span_largest_free(segment->span));
  }
  return largest;
}

uint32_t state_fragmentation(uint64_t allocated, uint64_t committed) {
  return units_percent(units_minus(committed, allocated), committed);
}

void state_space_problem(const struct service *s, const struct state_device *device,
                         uint64_t requested, struct problem_space *out) {
  *out = (struct problem_space){.requested_bytes = requested,
                                .available_bytes = state_available(s, device),
                                .largest_free_bytes = state_largest(s, device),
                                .reclaimable_cache_bytes = device->cached,
                                .fragmentation_hundredths =
                                    state_fragmentation(device->allocated, device->committed)};
  model_room_reclaimable(s, (uint32_t)(device - s->devices), out);
  worker_relief_name(s, (uint32_t)(device - s->devices), out);
}

uint32_t state_percent(const struct service *s, const struct state_device *device) {
  if (device->gone)
    return 0;
  /* A limit may be set below what is committed already. */
  return (uint32_t)units_min(
      pressure_percent(&(struct pressure_figures){.used_bytes = state_used(s, device),
                                                  .reclaimable_cache_bytes = device->cached,
                                                  .total_bytes = device->info->total_bytes,
                                                  .committed_bytes = device->committed,
                                                  .limit_bytes = device->limit}),
      10000);
}

static uint64_t share_of(uint64_t bytes, uint32_t hundredths) {
  return (uint64_t)((unsigned __int128)bytes * hundredths / 10000);
}

uint64_t state_excess(const struct service *s, const struct state_device *device, uint32_t target) {
  uint64_t used = units_minus(state_used(s, device), device->cached);
  return units_max(units_minus(used, share_of(device->info->total_bytes, target)),
                   units_minus(device->committed, share_of(device->limit, target)));
}

uint64_t state_used_on(const struct service *s, uint32_t device) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < s->device_count; i++)
    bytes += device == UINT32_MAX || device == i ? state_used(s, &s->devices[i]) : 0;
  return bytes;
}

uint64_t state_made_on(const struct service *s, uint32_t device) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < s->device_count; i++)
    if ((device == UINT32_MAX || device == i) && !s->devices[i].info->whole_host)
      bytes += s->devices[i].made;
  return bytes;
}

uint32_t state_utilization_on(const struct service *s, uint32_t device) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < s->device_count; i++)
    total += device == UINT32_MAX || device == i ? s->devices[i].info->total_bytes : 0;
  return units_percent(state_used_on(s, device), total);
}

uint64_t state_left(const struct service *s, const struct state_device *device, uint32_t target) {
  uint64_t used = units_minus(state_used(s, device), device->cached);
  return units_min(units_minus(share_of(device->info->total_bytes, target), used),
                   units_minus(share_of(device->limit, target), device->committed));
}

void state_tell_numbers(struct service *s) {
  const struct service_relief *relief = &s->models->relief;
  struct mover_numbers numbers = {s->thresholds, relief->trigger, relief->target, relief->strategy};
  if (s->mover)
    s->mover->numbers(s->mover_ctx, &numbers);
}

static bool level_moves(struct view_pressure *pressure,
                        const struct pressure_thresholds *thresholds, uint32_t percent,
                        enum pressure_level least) {
  enum pressure_level level = pressure_next(thresholds, pressure->level, percent);
  if (level < least)
    level = least;
  pressure->percent = percent;
  if (level == pressure->level && pressure->since)
    return false;
  bool moved = level != pressure->level;
  pressure->level = level;
  pressure->since = clock_real();
  return moved;
}

/* Figures do not say all: what strains a device lasts, and so do stalls of those who want memory.
 */
static enum pressure_level least_level(const struct service *s, const struct state_device *device) {
  if (device->strain.on)
    return PRESSURE_CRITICAL;
  return device->info->host_memory ? pressure_stall_level(&s->stalls, clock_now()) : PRESSURE_LOW;
}

void state_pressure(struct service *s) {
  uint32_t worst = 0;
  enum pressure_level highest = PRESSURE_LOW;
  for (uint32_t i = 0; i < s->device_count; i++) {
    struct state_device *device = &s->devices[i];
    uint32_t percent = state_percent(s, device);
    if (percent > worst)
      worst = percent;
    enum pressure_level least = least_level(s, device);
    highest = least > highest ? least : highest;
    if (!level_moves(&device->pressure, &s->thresholds, percent, least))
      continue;
    struct events_record event = {.type = EVENTS_PRESSURE_CHANGED,
                                  .device = (uint8_t)(i + 1),
                                  .detail = (uint8_t)device->pressure.level,
                                  .other = percent,
                                  .bytes = state_available(s, device)};
    events_add(s->events, &event);
  }
  level_moves(&s->pressure, &s->thresholds, worst, highest);
}

bool state_is_lost(const struct service *s, const struct state_alloc *alloc) {
  const struct state_segment *segment = state_segment(s, alloc->segment);
  return segment->share.kind == SHARE_NONE || s->devices[segment->device].lost;
}

enum view_alloc_status state_status(const struct service *s, const struct state_alloc *alloc) {
  if (state_is_lost(s, alloc))
    return VIEW_LOST;
  if (alloc->moving)
    return VIEW_MOVING;
  if (alloc->busy)
    return VIEW_BUSY;
  return state_owner(s, alloc->owner)->dead ? VIEW_ORPHANED : VIEW_ACTIVE;
}

void state_view_alloc(const struct service *s, uint32_t index, struct view_alloc *out) {
  const struct state_alloc *alloc = state_alloc(s, index);
  const struct ledger_record *record = ledger_at(s->ledger, alloc->slot);
  const struct ledger_allocation *facts = &record->u.allocation;
  const struct state_segment *segment = state_segment(s, alloc->segment);
  const struct state_owner *owner = state_owner(s, alloc->owner);
  out->id = alloc->id;
  out->size_bytes = facts->size_bytes;
  out->alignment_bytes = UINT64_C(1) << facts->alignment_log2;
  out->segment_id = segment->id;
  out->offset_bytes = facts->offset_bytes;
  out->device_id = s->devices[segment->device].info->id;
  out->dedicated = !segment->span;
  out->purpose = facts->purpose;
  out->priority = facts->priority;
  out->share = facts->flags & STATE_SHARE_WRITE  ? VIEW_SHARE_WRITE
               : facts->flags & STATE_SHARE_READ ? VIEW_SHARE_READ
                                                 : VIEW_SHARE_NONE;
  out->status = state_status(s, alloc);
  out->owner = (struct view_owner){.kind = owner->kind, .id = owner->id, .pid = owner->pid};
  memcpy(out->owner.name, owner->name, sizeof out->owner.name);
  memcpy(out->domain, s->domains[owner->domain].name, sizeof out->domain);
  out->model_id = owner->kind == VIEW_OWNER_MODEL ? owner->pid_start : 0;
  out->persistent = facts->flags & STATE_PERSISTENT;
  out->pinned = facts->flags & STATE_PINNED;
  out->attachments = alloc->attachments;
  out->created_at = facts->created_real_ns;
  out->last_accessed_at = record->last_access_real_ns;
  out->access_count = record->access_count;
  /* Kept as time since boot; shown as the wall clock's reading of it now. */
  out->expires_at =
      facts->expires_boot_ns ? clock_real() + facts->expires_boot_ns - clock_boot() : 0;
  snprintf(out->label, sizeof out->label, "%s", alloc->label ? alloc->label : "");
}

/* Growing takes a system call of a few ms, so the decision thread does it, ahead of need: the
 * reaper may be busy with gigabytes. */
struct ledger_growth {
  struct task task;
  struct service *service;
  uint32_t records;
};

static void grow_ledger(struct task *task) {
  struct ledger_growth *growth = (struct ledger_growth *)task;
  struct service *s = growth->service;
  enum status status = ledger_grow(s->ledger, growth->records);
  lock_take(&s->lock);
  if (!status)
    ledger_grow_commit(s->ledger);
  s->ledger_growing = false;
  lock_give(&s->lock);
  if (status)
    log_warning("service", "the ledger could not grow: no memory");
  free(growth);
}

void state_ledger_ahead(struct service *s) {
  uint32_t live = ledger_live(s->ledger);
  if (s->ledger_growing || ledger_free_slots(s->ledger) >= STATE_LEDGER_AHEAD + live / 16)
    return;
  struct ledger_growth *growth = calloc(1, sizeof *growth);
  if (!growth)
    return;
  growth->task.run = grow_ledger;
  growth->service = s;
  growth->records = 2 * STATE_LEDGER_AHEAD + live / 16;
  s->ledger_growing = true;
  queue_post(s->decision, &growth->task);
}
