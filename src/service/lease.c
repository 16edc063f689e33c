/*
 * lease: a heap of expiries, and a watch on the process of each owner that has one (pidfd, readable
 * when it ends).
 *
 * Times are CLOCK_BOOTTIME, so that a corrected clock frees nobody's memory. Freed allocations stay
 * in the heap until their time comes and are passed over then: ids are never used twice.
 */
#include "service/lease.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/os_process.h"
#include "service/record.h"
#include "service/space.h"

#define LEASE_FIRST 64 /* entries of the first heap */

struct lease_expiry {
  uint64_t at, id;
};

struct lease {
  struct task task; /* first: the decision thread hands it to us */
  struct service *service;
  struct lease_expiry *heap;
  size_t count, space;
};

/* Carries an owner to the loop's thread. */
struct lease_watching {
  struct task task;
  struct service *service;
  uint64_t owner;
};

static void sift_up(struct lease *lease, size_t i) {
  while (i && lease->heap[i].at < lease->heap[(i - 1) / 2].at) {
    struct lease_expiry swap = lease->heap[i];
    lease->heap[i] = lease->heap[(i - 1) / 2];
    lease->heap[i = (i - 1) / 2] = swap;
  }
}

static void sift_down(struct lease *lease) {
  for (size_t i = 0, least;; i = least) {
    least = i;
    for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < lease->count; child++)
      if (lease->heap[child].at < lease->heap[least].at)
        least = child;
    if (least == i)
      return;
    struct lease_expiry swap = lease->heap[i];
    lease->heap[i] = lease->heap[least];
    lease->heap[least] = swap;
  }
}

static void schedule(struct lease *lease) {
  if (!lease->count)
    return;
  uint64_t boot = clock_boot(), at = lease->heap[0].at;
  queue_post_at(lease->service->decision, &lease->task, clock_now() + (at > boot ? at - boot : 0));
}

static void expire(struct task *task) {
  struct lease *lease = (struct lease *)task;
  struct service *s = lease->service;
  LOCK_SCOPE(&s->lock);
  while (lease->count && lease->heap[0].at <= clock_boot()) {
    uint32_t alloc = idmap_find(&s->alloc_ids, lease->heap[0].id);
    if (alloc && (state_alloc(s, alloc)->busy || state_alloc(s, alloc)->moving)) {
      /* A transfer still reads it: ask again when that may be over. */
      lease->heap[0].at = clock_boot() + CLOCK_SECOND;
      sift_down(lease);
      continue;
    }
    lease->heap[0] = lease->heap[--lease->count];
    sift_down(lease);
    if (alloc)
      record_drop(s, alloc, EVENTS_ALLOCATION_EXPIRED, NULL, NULL);
  }
  schedule(lease);
}

enum status lease_create(struct service *s) {
  s->lease = calloc(1, sizeof *s->lease);
  if (!s->lease)
    return STATUS_INTERNAL_ERROR;
  s->lease->service = s;
  s->lease->task.run = expire;
  return STATUS_OK;
}

void lease_free(struct service *s) {
  if (!s->lease)
    return;
  for (const struct idmap_entry *entry = idmap_next(&s->owner_ids, 0); entry;
       entry = idmap_next(&s->owner_ids, entry->id)) {
    struct os_process *watch = state_owner(s, entry->value)->watch;
    if (watch)
      os_process_free(watch);
  }
  free(s->lease->heap);
  free(s->lease);
}

enum status lease_add(struct service *s, uint32_t index) {
  struct lease *lease = s->lease;
  if (lease->count == lease->space) {
    size_t space = lease->space ? 2 * lease->space : LEASE_FIRST;
    void *heap = realloc(lease->heap, space * sizeof *lease->heap);
    if (!heap)
      return STATUS_INTERNAL_ERROR;
    lease->heap = heap;
    lease->space = space;
  }
  const struct state_alloc *alloc = state_alloc(s, index);
  lease->heap[lease->count++] =
      (struct lease_expiry){state_record(s, alloc)->expires_boot_ns, alloc->id};
  sift_up(lease, lease->count - 1);
  schedule(lease);
  return STATUS_OK;
}

/* ---- processes ---- */

/* Everything of a dead owner goes, but what was made to outlive it. */
static void owner_died(struct service *s, uint32_t index) {
  struct state_owner *owner = state_owner(s, index);
  owner->dead = true;
  log_info("service", "process %d of %s is gone with %u allocations", (int)owner->pid, owner->name,
           owner->allocations);
  record_drop_owner(s, index);
  space_owner_done(s, index);
}

static void process_ended(void *arg) {
  struct lease_watching *watching = arg;
  struct service *s = watching->service;
  struct os_process *watch = NULL;
  lock_take(&s->lock);
  uint32_t index = idmap_find(&s->owner_ids, watching->owner);
  if (index) {
    watch = state_owner(s, index)->watch;
    state_owner(s, index)->watch = NULL;
    owner_died(s, index);
  }
  lock_give(&s->lock);
  os_process_free(watch);
  free(watching);
}

static void start_watching(struct task *task) {
  struct lease_watching *watching = (struct lease_watching *)task;
  struct service *s = watching->service;
  struct os_process_params params = {.fn = process_ended, .arg = watching};
  lock_take(&s->lock);
  uint32_t index = idmap_find(&s->owner_ids, watching->owner);
  if (index) {
    params.pid = state_owner(s, index)->pid;
    params.start_time = state_owner(s, index)->pid_start;
  }
  lock_give(&s->lock);
  struct os_process *watch = NULL;
  enum status status = os_process_watch(s->loop, &params, &watch);
  if (status) {
    /* Gone already; or no descriptor left, and then memory must not stay for ever either. */
    if (status != STATUS_NOT_FOUND)
      log_error("service", "process %d cannot be watched", (int)params.pid);
    process_ended(watching);
    return;
  }
  lock_take(&s->lock);
  /* Owners with a process are removed by process_ended alone, on this thread: the index still
   * holds. */
  state_owner(s, index)->watch = watch;
  lock_give(&s->lock);
}

void lease_watch(struct service *s, uint32_t index) {
  struct state_owner *owner = state_owner(s, index);
  struct lease_watching *watching = calloc(1, sizeof *watching);
  if (!watching)
    return;
  watching->task.run = start_watching;
  watching->service = s;
  watching->owner = owner->id;
  owner->watched = true;
  loop_post(s->loop, &watching->task);
}
