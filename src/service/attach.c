/*
 * attach: to hand a segment out: under the lock, its record says `exported` and the allocation is
 * busy, so that neither goes; without it, a descriptor is made; under it, the attachment is noted.
 */
#include "service/attach.h"

#include "base/id.h"
#include "base/os_memfd.h"
#include "service/attachment.h"
#include "service/record.h"

#define ATTACH_BATCH 256 /* claims per holding of the lock */

/* ---- in ---- */

static enum status check_domain(const struct service *s, const struct caller *caller,
                                uint32_t index, bool read_only, struct problem *problem) {
  const struct state_alloc *alloc = state_alloc(s, index);
  const struct state_domain *domain = &s->domains[state_owner(s, alloc->owner)->domain];
  uint8_t flags = state_record(s, alloc)->flags;
  if (caller->role == CALLER_ADMIN || caller->domain == domain->number || flags & STATE_SHARE_WRITE)
    return STATUS_OK;
  if (!(flags & STATE_SHARE_READ))
    return problem_set(problem, STATUS_FORBIDDEN, "the allocation belongs to %s and is not shared",
                       domain->name);
  if (!read_only)
    return problem_set(problem, STATUS_FORBIDDEN,
                       "%s shares the allocation for reading: attach it read-only", domain->name);
  if (state_segment(s, alloc->segment)->share.kind != SHARE_MEMFD)
    return problem_set(problem, STATUS_FORBIDDEN,
                       "memory of this device cannot be handed out for reading only");
  return STATUS_OK;
}

/* From now on its release knows that somebody may not let go. False: no room for the record. */
static bool export(struct service *s, struct state_segment *segment) {
  if (segment->exported)
    return true;
  struct ledger_record record = *ledger_at(s->ledger, segment->slot);
  record.u.segment.exported = 1;
  segment->exported = !ledger_replace(s->ledger, &segment->slot, &record);
  return segment->exported;
}

static enum status too_many(struct problem *problem) {
  return problem_set(problem, STATUS_RATE_LIMITED, "too much is attached; detach something first");
}

/* Under the lock: all checks; the allocation stays until `finish`. The share is borrowed. */
static enum status prepare(struct service *s, const struct caller *caller,
                           const struct attach_want *want, struct share *share,
                           struct problem *problem) {
  LOCK_SCOPE(&s->lock);
  uint32_t index;
  enum status status = state_find_alloc(s, NULL, want->allocation, &index, problem);
  if (status)
    return status;
  if (s->stopping)
    return problem_set(problem, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
  if (!caller->connection)
    return problem_set(problem, STATUS_CONFLICT, "only a client of the socket can attach memory");
  bool model = state_record(s, state_alloc(s, index))->flags & STATE_MODEL;
  if (model && !want->read_only)
    return problem_set(problem, STATUS_FORBIDDEN,
                       "nobody writes to a model's bytes: attach them read-only");
  status = check_domain(s, caller, index, want->read_only, problem);
  if (!status)
    status = record_usable(s, index, problem);
  if (status)
    return status;
  struct state_segment *segment = state_segment(s, state_alloc(s, index)->segment);
  state_ledger_ahead(s);
  if (!export(s, segment))
    return too_many(problem);
  state_alloc(s, index)->busy++;
  *share = segment->share;
  return STATUS_OK;
}

static enum status open_share(const struct share *share, bool read_only, struct share *out) {
  return read_only && share->kind == SHARE_MEMFD ? os_memfd_read_only(share, out)
                                                 : share_copy(share, out);
}

static void describe(const struct service *s, uint32_t index, struct attach_made *out) {
  const struct state_alloc *alloc = state_alloc(s, index);
  const struct ledger_record *record = ledger_at(s->ledger, alloc->slot);
  const struct state_segment *segment = state_segment(s, alloc->segment);
  out->allocation = alloc->id;
  out->segment = segment->id;
  out->offset_bytes = record->u.allocation.offset_bytes;
  out->size_bytes = record->u.allocation.size_bytes;
  out->device_id = s->devices[segment->device].info->id;
  out->kind = segment->share.kind;
  out->attachments = alloc->attachments;
  out->accessed_at = record->last_access_real_ns;
  out->access_count = record->access_count;
}

/* Under the lock: the mark goes; with a descriptor the attachment is noted. */
static enum status finish(struct service *s, const struct caller *caller,
                          const struct attach_want *want, struct attach_made *made,
                          struct problem *problem) {
  LOCK_SCOPE(&s->lock);
  uint32_t index = idmap_find(&s->alloc_ids, want->allocation);
  state_alloc(s, index)->busy--;
  record_let_go(s, index);
  if (made->share.kind == SHARE_NONE)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of descriptors");
  enum status status = state_find_alloc(s, NULL, want->allocation, &index, problem);
  if (status)
    return status;
  if (!attachment_add(s, caller, index, made->writable))
    return too_many(problem);
  record_touch(s, index);
  describe(s, index, made);
  return STATUS_OK;
}

enum status attach_begin(struct service *s, const struct caller *caller,
                         const struct attach_want *want, struct attach_made *out,
                         struct problem *problem) {
  struct attach_made made = {.writable = !want->read_only};
  struct share share = {.kind = SHARE_NONE};
  enum status status = prepare(s, caller, want, &share, problem);
  if (!status) {
    (void)open_share(&share, want->read_only, &made.share);
    status = finish(s, caller, want, &made, problem);
  }
  if (!status) {
    *out = made;
    return STATUS_OK;
  }
  share_close(&made.share);
  if (want->allocation)
    id_format(ID_ALLOCATION, want->allocation, problem->subject);
  return status;
}

/* ---- out ---- */

enum status attach_end(struct service *s, const struct caller *caller, uint64_t allocation,
                       uint32_t *attachments, struct problem *problem) {
  LOCK_SCOPE(&s->lock);
  uint32_t found = attachment_find(s, caller->connection, allocation), index;
  if (found)
    attachment_drop(s, found, caller->correlation);
  enum status status = state_find_alloc(s, NULL, allocation, &index, problem);
  if (status && !found)
    return status;
  if (!found) {
    problem_set(problem, STATUS_CONFLICT, "the allocation is not attached to this connection");
    id_format(ID_ALLOCATION, allocation, problem->subject);
    return STATUS_CONFLICT;
  }
  *attachments = status ? 0 : state_alloc(s, index)->attachments;
  return STATUS_OK;
}

void attach_connection_closed(struct service *s, uint64_t connection) {
  for (bool more = true; more;) {
    LOCK_SCOPE(&s->lock);
    more = attachment_drop_some(s, connection);
  }
}

/* ---- over a restart ---- */

enum status attach_restore(struct service *s, uint32_t slot) {
  const struct ledger_attachment *facts = &ledger_at(s->ledger, slot)->u.attachment;
  uint32_t alloc = idmap_find(&s->alloc_ids, facts->allocation);
  uint32_t owner = idmap_find(&s->owner_ids, facts->owner);
  if (alloc && owner && facts->pid)
    return attachment_adopt(s, slot, alloc, owner) ? STATUS_OK : STATUS_INTERNAL_ERROR;
  ledger_drop(s->ledger, slot);
  return STATUS_OK;
}

/* The client had it from a connection that we, or an earlier daemon, take for closed. */
static bool attach_anew(struct service *s, const struct caller *caller,
                        const struct attach_claim *claim) {
  struct problem ignored;
  uint32_t index = idmap_find(&s->alloc_ids, claim->allocation);
  if (!index || check_domain(s, caller, index, !claim->writable, &ignored) ||
      record_usable(s, index, &ignored))
    return false;
  const struct state_segment *segment = state_segment(s, state_alloc(s, index)->segment);
  return segment->id == claim->segment && segment->exported &&
         attachment_add(s, caller, index, claim->writable);
}

static bool resume(struct service *s, const struct caller *caller,
                   const struct attach_claim *claim) {
  const struct attachment_kind kind = {claim->allocation, claim->writable};
  return attachment_take_left(s, caller, &kind) ||
         attachment_find(s, caller->connection, claim->allocation) || attach_anew(s, caller, claim);
}

void attach_resume(struct service *s, const struct caller *caller, struct attach_claim *claims,
                   uint32_t count, bool more) {
  for (uint32_t i = 0; i < count;) {
    LOCK_SCOPE(&s->lock);
    for (uint32_t end = i + ATTACH_BATCH; i < end && i < count; i++)
      claims[i].resumed = resume(s, caller, &claims[i]);
  }
  for (bool left = !more; left;) {
    LOCK_SCOPE(&s->lock);
    left = attachment_drop_left(s, caller);
  }
}
