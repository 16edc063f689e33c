/*
 * alloc_free: free, clear's and everybody's way to end one allocation on request. A block of a slab
 * is given back at once; a segment of its own goes back to the driver first, and the answer waits
 * for that.
 */
#include <stdlib.h>

#include "service/alloc.h"
#include "service/attachment.h"
#include "service/job_work.h"
#include "service/record.h"

static void set_result(struct job_view *view, void *arg) {
  view->result.free = *(struct job_free *)arg;
}

struct freeing {
  struct service *service;
  struct job *job;
  uint32_t device;
};

static void set_available(struct job_view *view, void *arg) {
  view->result.free.available_bytes = *(uint64_t *)arg;
}

static void released(void *arg) {
  struct freeing *freeing = arg;
  struct service *s = freeing->service;
  lock_take(&s->lock);
  uint64_t available = state_available(s, &s->devices[freeing->device]);
  lock_give(&s->lock);
  job_update(freeing->job, set_available, &available);
  job_finish(freeing->job, &(struct problem){.status = STATUS_OK});
  free(freeing);
}

/* What the caller's own connection has attached is no hindrance. */
static enum status check(struct service *s, const struct caller *caller, uint32_t index, bool force,
                         struct problem *problem) {
  const struct state_alloc *alloc = state_alloc(s, index);
  uint8_t flags = state_record(s, alloc)->flags;
  if (alloc->busy || alloc->moving)
    return problem_set(problem, STATUS_ALLOCATION_BUSY, "a transfer, copy or fill still uses it");
  if (flags & STATE_MODEL)
    return problem_set(problem, STATUS_CONFLICT, "it belongs to a model: unload that");
  if (force)
    return STATUS_OK;
  bool others = alloc->attachments > attachment_count(s, caller->connection, alloc->id);
  const char *why = others                     ? "a client has it attached"
                    : flags & STATE_PERSISTENT ? "it is persistent"
                    : flags & STATE_PINNED     ? "it is pinned"
                                               : NULL;
  return why ? problem_set(problem, STATUS_ALLOCATION_BUSY, "%s; free it with force", why)
             : STATUS_OK;
}

static void detach(struct service *s, const struct caller *caller, uint64_t allocation) {
  for (uint32_t own; (own = attachment_find(s, caller->connection, allocation));)
    attachment_drop(s, own, caller->correlation);
}

enum status alloc_free(struct service *s, const struct caller *caller,
                       const struct alloc_victim *victim, struct alloc_freed *out,
                       struct problem *problem) {
  struct freeing *freeing = calloc(1, sizeof *freeing);
  struct job *job =
      freeing ? job_make(s, &(struct job_params){.kind = JOB_FREE, .caller = caller}) : NULL;
  if (!job) {
    free(freeing);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  }
  *freeing = (struct freeing){.service = s, .job = job_keep(job)};
  uint32_t index;
  bool goes = false;
  lock_take(&s->lock);
  enum status status = state_find_alloc(s, caller, victim->id, &index, problem);
  if (!status)
    status = check(s, caller, index, victim->force, problem);
  if (!status) {
    freeing->device = state_segment(s, state_alloc(s, index)->segment)->device;
    out->answer =
        (struct job_free){.allocation = victim->id,
                          .freed_bytes = state_record(s, state_alloc(s, index))->size_bytes};
    job_update(job, set_result, &out->answer);
    struct record_end end = {.why = EVENTS_ALLOCATION_FREED,
                             .correlation = caller->correlation,
                             .then = released,
                             .arg = freeing};
    detach(s, caller, victim->id);
    goes = record_drop(s, index, &end);
    out->answer.available_bytes = state_available(s, &s->devices[freeing->device]);
  }
  lock_give(&s->lock);
  out->job = goes ? job : NULL;
  if (goes)
    return STATUS_PENDING; // cppcheck-suppress memleak ; `freeing` is with the segment
  job_give(job);
  job_give(job);
  free(freeing);
  return status;
}
