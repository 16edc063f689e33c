/*
 * restore: every live record once, in order of ids, so that what a record names is there before it:
 * limits and owners, segments, allocations; then the places, segment by segment in order of
 * offsets, which makes each a step from the one before. Nothing depends on how many bytes there
 * are.
 */
#include "service/restore.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/log.h"
#include "base/os_pages.h"
#include "base/units.h"
#include "device/probe.h"
#include "memory/slab.h"
#include "service/attach.h"
#include "service/bound.h"
#include "service/inventory.h"
#include "service/job_work.h"
#include "service/lease.h"
#include "service/model_record.h"
#include "service/record.h"
#include "service/segment.h"

struct restore {
  struct service *service;
  struct restore_found *found;
  const struct idmap_entry *rows; /* the ledger's, by id */
  uint32_t count, slots;
  uint32_t kinds[LEDGER_TEXT_CHAIN + 1]; /* how many there are of each */
  uint32_t lost;                         /* segments */
  uint32_t *allocs;                      /* by slot: an allocation's index */
  uint8_t *named;                        /* by slot: texts that somebody names */
  struct {
    uint64_t id;
    uint32_t index;
  } segment, owner; /* of the last allocation: the next has mostly the same */
};

static const struct ledger_record *record_at(const struct restore *r, uint32_t slot) {
  return ledger_at(r->service->ledger, slot);
}

static uint32_t slot_of(const struct restore *r, uint64_t id) {
  uint32_t at = id ? idmap_search(r->rows, r->count, id) : r->count;
  return at < r->count && r->rows[at].id == id ? r->rows[at].value : 0;
}

/* The text's first record, and the text, cut to size. */
static uint32_t read_text(struct restore *r, uint64_t id, char *out, size_t size) {
  uint32_t first = slot_of(r, id);
  size_t used = 0;
  for (uint32_t slot = first; slot; slot = ledger_next_text(r->service->ledger, slot)) {
    const struct ledger_text *piece = &record_at(r, slot)->u.text;
    size_t n = units_min(piece->size, size - 1 - used);
    memcpy(out + used, piece->bytes, n);
    used += n;
    r->named[slot] = 1;
  }
  out[used] = '\0';
  return first;
}

/* ---- the ledger ---- */

enum status restore_ledger(struct service *s, const struct restore_found *found,
                           struct problem *problem) {
  uint64_t identity[2];
  enum status status = ledger_adopt(&found->ledger, &s->ledger, problem);
  if (status)
    return status;
  ledger_identity(s->ledger, identity);
  if (memcmp(identity, found->identity, sizeof identity) != 0)
    status =
        problem_set(problem, STATUS_CONFLICT, "the ledger is not the one that the vault names");
  if (!status)
    status = ledger_check_overlaps(s->ledger, problem);
  return status;
}

static size_t allocs_bytes(const struct restore *r) {
  return ((size_t)r->slots + 1) * sizeof *r->allocs;
}

/* Room for what comes, and in the books for as many. */
static enum status begin(struct restore *r) {
  struct service *s = r->service;
  r->rows = ledger_by_id(s->ledger, &r->count);
  r->slots = ledger_live(s->ledger) + ledger_free_slots(s->ledger);
  for (uint32_t i = 0; i < r->count; i++)
    r->kinds[r->rows[i].note]++;
  r->named = calloc((size_t)r->slots + 1, 1);
  r->allocs = os_pages_reserve(allocs_bytes(r));
  if (!r->named || !r->allocs)
    return STATUS_INTERNAL_ERROR;
  os_pages_expect(r->allocs, allocs_bytes(r));
  idmap_expect(&s->alloc_ids, r->kinds[LEDGER_ALLOCATION]);
  pool_expect(&s->allocs, r->kinds[LEDGER_ALLOCATION]);
  pool_expect(&s->nodes, r->kinds[LEDGER_ALLOCATION]);
  return STATUS_OK;
}

/* ---- devices ---- */

/* Its driver may be gone too: what is on it is kept all the same. */
static enum status open_gone(struct service *s, const char *name, const struct ledger_limit *limit,
                             struct problem *problem) {
  char text[96];
  uint64_t total = limit->total_bytes;
  struct spec spec;
  snprintf(text, sizeof text, "%s=%" PRIu64, name, total);
  if (!total)
    text[strlen(name)] = '\0';
  enum status status = spec_parse(text, &spec, problem);
  if (!status) {
    if (probe_is_apart(spec.backend))
      bound_format(limit->card, spec.uuid);
    spec.broker = s->device_count ? s->devices[0].spec.broker : NULL;
    spec.absent = s->unseen[0] && probe_is_apart(spec.backend);
    probe_place(&spec);
    status = inventory_open(s, &spec, problem);
  }
  if (status == STATUS_DEVICE_NOT_FOUND || status == STATUS_DEVICE_UNAVAILABLE) {
    spec.absent = true;
    problem->status = STATUS_OK;
    status = inventory_open(s, &spec, problem);
  }
  if (status)
    return problem_set(problem, STATUS_CONFLICT, "%s holds memory, and cannot be opened", name);
  s->devices[s->device_count - 1].gone = true;
  s->devices[s->device_count - 1].limit = 0;
  log_warning("service", "%s is not configured any more, but holds memory: it is kept", name);
  return STATUS_OK;
}

static uint32_t device_named(const struct service *s, const char *name) {
  uint32_t index = 0;
  while (index < s->device_count && strcmp(s->devices[index].info->id, name) != 0)
    index++;
  return index;
}

static void adopt_limits(struct state_device *device, const struct ledger_record *record,
                         uint32_t slot) {
  device->record = record->id;
  device->record_slot = slot;
  if (!record->u.limit.changed || device->gone)
    return;
  device->limit = units_min(record->u.limit.max_bytes, device->info->total_bytes);
  device->reserved = units_min(record->u.limit.reserved_bytes, device->limit);
}

static void adopt_quota(struct service *s, const struct ledger_record *record, uint32_t slot,
                        const char *name) {
  struct caller caller = {.domain = record->u.limit.domain};
  snprintf(caller.domain_name, sizeof caller.domain_name, "%s", name);
  uint32_t index = state_domain_of(s, &caller);
  if (index == UINT32_MAX)
    return;
  s->domains[index].max_bytes = record->u.limit.max_bytes;
  s->domains[index].max_allocations = record->u.limit.reserved_bytes;
  s->domains[index].record = record->id;
  s->domains[index].record_slot = slot;
}

static enum status adopt_limit(struct restore *r, uint32_t slot, struct problem *problem) {
  struct service *s = r->service;
  const struct ledger_record *record = record_at(r, slot);
  char name[SPEC_ID + 8];
  read_text(r, record->u.limit.text, name, sizeof name);
  if (record->u.limit.of_domain) {
    adopt_quota(s, record, slot, name);
    return STATUS_OK;
  }
  uint32_t index = device_named(s, name);
  if (index == s->device_count) {
    if (!bound_holds_memory(s, record->id))
      return STATUS_OK;
    enum status status = open_gone(s, name, &record->u.limit, problem);
    if (status)
      return status;
  }
  struct state_device *device = &s->devices[index];
  if (!bound_is_card(&record->u.limit, device->info->uuid) && bound_holds_memory(s, record->id))
    return problem_set(problem, STATUS_CONFLICT,
                       "%s is another card than the one with memory on it", name);
  adopt_limits(device, record, slot);
  return STATUS_OK;
}

/* ---- owners, segments, allocations ---- */

static enum status adopt_owner(struct restore *r, uint32_t slot) {
  char domain[40];
  uint32_t text = read_text(r, record_at(r, slot)->u.owner.text, domain, sizeof domain);
  uint32_t index = state_owner_adopt(r->service, slot, domain);
  if (!index)
    return STATUS_INTERNAL_ERROR;
  state_owner(r->service, index)->text_slot = text;
  return lease_watch(r->service, index) ? STATUS_OK : STATUS_INTERNAL_ERROR;
}

static struct keeper_segment *found_of(const struct restore *r, uint64_t id) {
  for (uint32_t low = 0, high = r->found->count; low < high;) {
    uint32_t middle = low + (high - low) / 2;
    struct keeper_segment *segment = &r->found->segments[middle];
    if (segment->id == id)
      return segment;
    if (segment->id < id)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

static uint32_t device_of(const struct service *s, uint64_t record) {
  uint32_t index = 0;
  while (index < s->device_count && s->devices[index].record != record)
    index++;
  return index;
}

static enum status adopt_segment(struct restore *r, uint32_t slot) {
  struct service *s = r->service;
  const struct ledger_record *record = record_at(r, slot);
  const struct ledger_segment *facts = &record->u.segment;
  struct segment_new new = {.id = record->id,
                            .size = facts->size_bytes,
                            .kept = r->found->epoch,
                            .device = device_of(s, facts->device),
                            .owner = idmap_find(&s->owner_ids, facts->owner)};
  struct keeper_segment *found = found_of(r, record->id);
  if (new.device == s->device_count || !new.owner)
    return STATUS_CONFLICT;
  if (found && found->size == facts->size_bytes) {
    new.share = (struct share){facts->share_kind, found->share.value};
    found->share.kind = SHARE_NONE;
  } else {
    r->lost++;
  }
  if (!facts->type && span_create(&s->nodes, facts->size_bytes, SLAB_GRANULE, &new.span))
    return STATUS_INTERNAL_ERROR;
  uint32_t index = segment_adopt(s, &new, slot);
  if (!index)
    return STATUS_INTERNAL_ERROR;
  state_segment(s, index)->exported = facts->exported;
  return STATUS_OK;
}

static void find_places(struct restore *r, const struct ledger_allocation *facts) {
  if (r->segment.id != facts->segment) {
    r->segment.id = facts->segment;
    r->segment.index = idmap_find(&r->service->segment_ids, facts->segment);
  }
  if (r->owner.id != facts->owner) {
    r->owner.id = facts->owner;
    r->owner.index = idmap_find(&r->service->owner_ids, facts->owner);
  }
}

static enum status adopt_allocation(struct restore *r, uint32_t slot) {
  const struct ledger_allocation *facts = &record_at(r, slot)->u.allocation;
  char label[VIEW_LABEL];
  find_places(r, facts);
  struct record_left left = {.slot = slot,
                             .segment = r->segment.index,
                             .owner = r->owner.index,
                             .text_slot = read_text(r, facts->text, label, sizeof label),
                             .label = label};
  return left.segment && left.owner ? record_adopt(r->service, &left, &r->allocs[slot])
                                    : STATUS_CONFLICT;
}

/* The name of a device that has, or had, the limit record `id`. */
static void name_device(struct restore *r, uint64_t id, char out[SPEC_ID]) {
  uint32_t slot = slot_of(r, id);
  if (slot && record_at(r, slot)->kind == LEDGER_LIMIT)
    read_text(r, record_at(r, slot)->u.limit.text, out, SPEC_ID);
}

static enum status adopt_job(struct restore *r, uint32_t slot) {
  struct job_record record = {0};
  struct job_view view = {0};
  if (!job_record_read(r->service, slot, &record, &view)) {
    log_warning("service", "the ledger holds a job of an unknown kind: it is dropped");
    ledger_drop(r->service->ledger, slot);
    return STATUS_OK;
  }
  if (view.kind == JOB_TRANSFER) {
    name_device(r, record.source, view.result.transfer.source_device);
    name_device(r, record.target, view.result.transfer.target_device);
  }
  return job_table_adopt(r->service, &record, &view);
}

static enum status adopt_model(struct restore *r, uint32_t slot) {
  char text[MODEL_RECORD_TEXT] = "";
  uint32_t first = read_text(r, record_at(r, slot)->u.model.text, text, sizeof text);
  struct model_record_left left = {slot, first, text};
  return model_record_adopt(r->service, &left);
}

static enum status adopt_record(struct restore *r, uint32_t slot, enum ledger_kind kind) {
  switch (kind) {
  case LEDGER_OWNER:
    return adopt_owner(r, slot);
  case LEDGER_SEGMENT:
    return adopt_segment(r, slot);
  case LEDGER_ALLOCATION:
    return adopt_allocation(r, slot);
  case LEDGER_ATTACHMENT:
    return attach_restore(r->service, slot);
  case LEDGER_JOB:
    return adopt_job(r, slot);
  case LEDGER_MODEL:
    return adopt_model(r, slot);
  default:
    return STATUS_OK;
  }
}

static enum status adopt_all(struct restore *r, enum ledger_kind kind) {
  enum status status = STATUS_OK;
  for (uint32_t i = 0, left = r->kinds[kind]; !status && left; i++) {
    if (r->rows[i].note != kind)
      continue;
    status = adopt_record(r, r->rows[i].value, kind);
    left--;
  }
  return status;
}

static enum status take_places(struct restore *r) {
  uint32_t count;
  const struct idmap_entry *places = ledger_by_place(r->service->ledger, &count);
  for (uint32_t i = 0; i < count; i++)
    if (!record_adopt_place(r->service, r->allocs[places[i].value]))
      return STATUS_CONFLICT;
  return STATUS_OK;
}

/* A crash between a text and what names it. */
static void drop_unnamed_texts(struct restore *r) {
  for (uint32_t i = 0, left = r->kinds[LEDGER_TEXT_CHAIN]; left; i++) {
    if (r->rows[i].note != LEDGER_TEXT_CHAIN)
      continue;
    if (!r->named[r->rows[i].value])
      ledger_drop(r->service->ledger, r->rows[i].value);
    left--;
  }
}

static enum status adopt_limits_all(struct restore *r, struct problem *problem) {
  enum status status = STATUS_OK;
  for (uint32_t i = 0, left = r->kinds[LEDGER_LIMIT]; !status && left; i++) {
    if (r->rows[i].note != LEDGER_LIMIT)
      continue;
    status = adopt_limit(r, r->rows[i].value, problem);
    left--;
  }
  return status;
}

static enum status run(struct restore *r, struct problem *problem) {
  enum status status = begin(r);
  if (!status)
    status = adopt_limits_all(r, problem);
  if (!status)
    status = adopt_all(r, LEDGER_OWNER);
  if (!status)
    status = adopt_all(r, LEDGER_SEGMENT);
  if (!status)
    status = adopt_all(r, LEDGER_ALLOCATION);
  if (!status)
    status = take_places(r);
  if (!status)
    status = adopt_all(r, LEDGER_ATTACHMENT);
  if (!status)
    status = adopt_all(r, LEDGER_MODEL);
  if (!status)
    model_record_adopted(r->service);
  if (!status)
    drop_unnamed_texts(r);
  if (!status)
    status = adopt_all(r, LEDGER_JOB);
  if (!status)
    status = job_table_adopted(r->service);
  return status;
}

static void report(const struct restore *r) {
  const struct service *s = r->service;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < s->device_count; i++)
    bytes += s->devices[i].committed;
  char text[32];
  units_format(bytes, text, sizeof text);
  log_info("service", "taken over from the vault: %u allocations in %u segments, %s",
           r->kinds[LEDGER_ALLOCATION], s->segments.live, text);
  if (r->lost)
    log_warning("service", "%u segments are lost: the vault does not have them any more", r->lost);
}

enum status restore_books(struct service *s, struct restore_found *found, struct problem *problem) {
  struct restore restore = {.service = s, .found = found};
  problem->status = STATUS_OK;
  enum status status = run(&restore, problem);
  if (!status)
    report(&restore);
  else if (!problem->status)
    problem_set(problem, status, "the ledger cannot be taken over: %s", status_text(status));
  os_pages_release(restore.allocs, allocs_bytes(&restore));
  free(restore.named);
  ledger_settle(s->ledger);
  return status;
}

void restore_tidy(struct service *s) {
  model_record_tidy(s);
  for (uint32_t d = 0; d < s->device_count; d++)
    for (uint32_t i = s->devices[d].first, next; i; i = next) {
      const struct state_segment *segment = state_segment(s, i);
      next = segment->next;
      if (!segment->blocks && (!segment->span || segment->closed))
        segment_release(s, i, NULL, NULL);
    }
}
