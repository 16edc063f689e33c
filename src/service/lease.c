/*
 * lease: a heap of expiries, and a watch on the process of each owner that has one (pidfd, readable
 * when it ends).
 *
 * Times are CLOCK_BOOTTIME, so that a corrected clock frees nobody's memory. Each allocation knows
 * its place in the heap. Both kinds of end take the lock for some allocations at a time.
 */
#include "service/lease.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/os_process.h"
#include "base/units.h"
#include "service/attachment.h"
#include "service/record.h"
#include "service/space.h"

#define LEASE_BATCH 256
#define LEASE_LOOK_NS                                                                              \
  (60 *                                                                                            \
   CLOCK_SECOND) /* at the latest: the queue's clock stands still in a suspend, ours does not */

#define LEASE_WATCH_AGAIN_NS CLOCK_SECOND

struct lease_expiry {
  uint64_t at;
  uint32_t alloc;
};

struct lease {
  struct task task; /* first: the decision thread hands it to us */
  struct service *service;
  struct pool heap; /* of lease_expiry, 1 … count */
  uint32_t count;
  bool started;
};

/* The watch of an owner: set up on the loop, and what brings the death to the decision thread. */
struct lease_watching {
  struct task task; /* first */
  struct service *service;
  struct os_process *process;
  uint64_t owner;
  struct record_walk walk;
};

/* ---- times ---- */

static struct lease_expiry *entry(const struct lease *lease, uint32_t i) {
  return pool_at(&lease->heap, i);
}

static void put(struct lease *lease, uint32_t i, struct lease_expiry expiry) {
  *entry(lease, i) = expiry;
  state_alloc(lease->service, expiry.alloc)->lease = i;
}

/* To where it belongs, from a free place i. */
static void settle(struct lease *lease, uint32_t i, struct lease_expiry expiry) {
  while (i > 1 && expiry.at < entry(lease, i / 2)->at) {
    put(lease, i, *entry(lease, i / 2));
    i /= 2;
  }
  for (uint32_t child; (child = 2 * i) <= lease->count; i = child) {
    if (child < lease->count && entry(lease, child + 1)->at < entry(lease, child)->at)
      child++;
    if (entry(lease, child)->at >= expiry.at)
      break;
    put(lease, i, *entry(lease, child));
  }
  put(lease, i, expiry);
}

static void schedule(struct lease *lease) {
  if (!lease->count || !lease->started)
    return;
  uint64_t wait = units_minus(entry(lease, 1)->at, clock_boot());
  queue_post_at(lease->service->decision, &lease->task,
                clock_now() + units_min(wait, LEASE_LOOK_NS));
}

void lease_add(struct service *s, uint32_t index) {
  struct lease *lease = s->lease;
  lease->count++;
  settle(lease, lease->count,
         (struct lease_expiry){state_record(s, state_alloc(s, index))->expires_boot_ns, index});
  if (state_alloc(s, index)->lease == 1)
    schedule(lease);
}

void lease_start(struct service *s) {
  s->lease->started = true;
  schedule(s->lease);
}

void lease_remove(struct service *s, uint32_t index) {
  struct lease *lease = s->lease;
  uint32_t at = state_alloc(s, index)->lease;
  if (!at)
    return;
  state_alloc(s, index)->lease = 0;
  struct lease_expiry last = *entry(lease, lease->count--);
  if (at <= lease->count)
    settle(lease, at, last);
}

static void expire(struct task *task) {
  struct lease *lease = (struct lease *)task;
  struct service *s = lease->service;
  LOCK_SCOPE(&s->lock);
  for (unsigned i = 0; i < LEASE_BATCH && lease->count; i++) {
    struct lease_expiry first = *entry(lease, 1);
    if (first.at > clock_boot())
      break;
    const struct state_alloc *alloc = state_alloc(s, first.alloc);
    first.at = clock_boot() + CLOCK_SECOND;
    /* A job still uses it: look again when that may be over. */
    if (alloc->busy || alloc->moving)
      settle(lease, 1, first);
    else
      record_drop(s, first.alloc, &(struct record_end){.why = EVENTS_ALLOCATION_EXPIRED});
  }
  schedule(lease);
}

/* ---- processes ---- */

/* Some of a dead owner's allocations; again until all are gone but what was made to outlive it. */
static void bury(struct task *task) {
  struct lease_watching *watching = (struct lease_watching *)task;
  struct service *s = watching->service;
  lock_take(&s->lock);
  uint32_t index = idmap_find(&s->owner_ids, watching->owner);
  bool more = record_drop_some(s, index, &watching->walk) || attachment_bury_some(s, index);
  if (!more) {
    state_owner(s, index)->watching = NULL;
    space_owner_let_go(s, index);
  }
  lock_give(&s->lock);
  if (more)
    queue_post(s->decision, &watching->task);
  else
    free(watching);
}

/* The owner is held until it is buried. */
static void process_ended(void *arg) {
  struct lease_watching *watching = arg;
  struct service *s = watching->service;
  lock_take(&s->lock);
  struct state_owner *owner = state_owner(s, idmap_find(&s->owner_ids, watching->owner));
  owner->dead = true;
  int32_t pid = owner->pid;
  uint32_t allocations = owner->allocations;
  lock_give(&s->lock);
  log_info("service", "process %d is gone with %u allocations", (int)pid, allocations);
  os_process_free(watching->process);
  watching->process = NULL;
  watching->task.run = bury;
  queue_post(s->decision, &watching->task);
}

static void watch(struct task *task);

static void watch_again(struct task *task) {
  struct lease_watching *watching = (struct lease_watching *)task;
  task->run = watch;
  loop_post(watching->service->loop, task);
}

static void watch(struct task *task) {
  struct lease_watching *watching = (struct lease_watching *)task;
  struct service *s = watching->service;
  struct os_process_params params = {.fn = process_ended, .arg = watching};
  lock_take(&s->lock);
  const struct state_owner *owner = state_owner(s, idmap_find(&s->owner_ids, watching->owner));
  params.pid = owner->pid;
  params.start_time = owner->pid_start;
  lock_give(&s->lock);
  enum status status = os_process_watch(s->loop, &params, &watching->process);
  if (status == STATUS_NOT_FOUND)
    process_ended(watching);
  if (!status || status == STATUS_NOT_FOUND)
    return;
  /* No descriptor or no memory just now: it may live, and so does what it holds. */
  log_warning("service", "process %d cannot be watched yet", (int)params.pid);
  task->run = watch_again;
  queue_post_at(s->decision, task, clock_now() + LEASE_WATCH_AGAIN_NS);
}

bool lease_watch(struct service *s, uint32_t index) {
  struct state_owner *owner = state_owner(s, index);
  if (!owner->pid || owner->watching)
    return true;
  struct lease_watching *watching = calloc(1, sizeof *watching);
  if (!watching)
    return false;
  *watching = (struct lease_watching){.task.run = watch, .service = s, .owner = owner->id};
  owner->watching = watching;
  space_owner_hold(s, index);
  loop_post(s->loop, &watching->task);
  return true;
}

uint32_t lease_owner(struct service *s, const struct caller *caller, int32_t pid, uint64_t start) {
  uint32_t index = state_owner_of(s, caller, pid, start);
  return index && lease_watch(s, index) ? index : 0;
}

/* ---- life ---- */

enum status lease_create(struct service *s) {
  s->lease = calloc(1, sizeof *s->lease);
  if (!s->lease)
    return STATUS_INTERNAL_ERROR;
  s->lease->service = s;
  s->lease->task.run = expire;
  return pool_init(&s->lease->heap, sizeof(struct lease_expiry), s->allocs.max);
}

void lease_free(struct service *s) {
  if (!s->lease)
    return;
  if (s->loop)
    loop_drop(s->loop); /* watches that were to be set up */
  const struct idmap_entry *owner = idmap_next(&s->owner_ids, 0);
  for (; owner; owner = idmap_next(&s->owner_ids, owner->id)) {
    struct lease_watching *watching = state_owner(s, owner->value)->watching;
    if (watching)
      os_process_free(watching->process);
    free(watching);
  }
  pool_done(&s->lease->heap);
  free(s->lease);
}
