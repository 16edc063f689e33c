/*
 * work_clear: gives back what is not needed: empty segments, copies in RAM of models that stay on
 * their cards, and workers' caches (cache), what nobody uses any more (idle), or everything that is
 * not protected (all). What is lost, or one owner's, goes without the copies and workers' caches.
 * The job ends when the drivers have the bytes back.
 *
 * Runs on the decision thread, one copy in RAM after the other; the state lock is held for 256
 * allocations at a time.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/choice.h"
#include "service/job_work.h"
#include "service/layers.h"
#include "service/model_room.h"
#include "service/model_unload.h"
#include "service/record.h"
#include "service/work.h"

#define CLEAR_BATCH 256

struct clearing {
  struct task step; /* first: the decision thread's */
  struct mover_task task;
  struct service *service;
  struct job *job;
  struct work_clear params;
  struct job_clear result;
  uint32_t devices[VIEW_DEVICES], of_device[VIEW_DEVICES]; /* of_device: row + 1, 0: not cleared */
  struct caller caller;
  struct { /* a copy in RAM that goes */
    struct job *job;
    struct job_waiter waiter;
    struct job_clear_device *row;
    uint64_t bytes;
    uint32_t parts;
    bool failed; /* no other is tried */
  } copy;
  uint32_t unfinished; /* releases and the workers' answer; under the state lock */
  uint64_t began_ns;
  struct problem problem;
};

static const uint8_t worker_scopes[] = {[WORK_CLEAR_CACHE] = MOVER_CLEAR_CACHE,
                                        [WORK_CLEAR_IDLE] = MOVER_CLEAR_IDLE,
                                        [WORK_CLEAR_ALL] = MOVER_CLEAR_ALL,
                                        [WORK_CLEAR_LOST] = MOVER_CLEAR_CACHE};

static void set_result(struct job_view *view, void *arg) {
  view->result.clear = *(struct job_clear *)arg;
}

static void finish(struct clearing *clearing) {
  struct service *s = clearing->service;
  lock_take(&s->lock);
  for (uint32_t i = 0; i < clearing->result.device_count; i++) {
    struct job_clear_device *row = &clearing->result.devices[i];
    row->used_after = state_used(s, &s->devices[clearing->devices[i]]);
    clearing->result.cleared_bytes += row->cleared_bytes;
  }
  lock_give(&s->lock);
  job_update(clearing->job, set_result, &clearing->result);
  job_finish(clearing->job, &clearing->problem);
  free(clearing);
}

/* One release, the workers, or the start itself is over. */
static void one_done(void *arg) {
  struct clearing *clearing = arg;
  struct service *s = clearing->service;
  lock_take(&s->lock);
  bool last = !--clearing->unfinished;
  lock_give(&s->lock);
  if (last)
    finish(clearing);
}

static void workers_done(struct mover_task *task) {
  struct clearing *clearing = (struct clearing *)((char *)task - offsetof(struct clearing, task));
  struct job_clear *result = &clearing->result;
  for (uint32_t i = 0; i < task->cleared_count && i < VIEW_CLEARED; i++) {
    memcpy(result->workers[i].id, task->cleared[i].id, sizeof result->workers[i].id);
    result->workers[i].cleared_bytes = task->cleared[i].bytes;
    result->worker_count++;
  }
  one_done(clearing);
}

/* Of what is not protected (or is forced). */
static bool is_idle(const struct service *s, const struct clearing *clearing,
                    const struct state_alloc *alloc) {
  const struct ledger_record *record = ledger_at(s->ledger, alloc->slot);
  uint64_t expires = record->u.allocation.expires_boot_ns;
  if (state_owner(s, alloc->owner)->dead || (expires && expires <= clock_boot()))
    return true;
  return units_minus(clock_real(), record->last_access_real_ns) >=
         state_ns(clearing->params.idle_seconds, CLOCK_SECOND);
}

static bool may_clear(const struct service *s, const struct clearing *clearing, uint32_t owner) {
  uint32_t domain = s->domains[state_owner(s, owner)->domain].number;
  return clearing->caller.role == CALLER_ADMIN || domain == clearing->caller.domain;
}

static bool is_meant(const struct service *s, const struct clearing *clearing, uint32_t owner) {
  const char *name = clearing->params.owner;
  return may_clear(s, clearing, owner) && (!name[0] || state_owner_is(state_owner(s, owner), name));
}

static bool goes(const struct service *s, const struct clearing *clearing,
                 const struct state_alloc *alloc) {
  uint8_t flags = state_record(s, alloc)->flags;
  const struct state_segment *segment = state_segment(s, alloc->segment);
  if (!clearing->of_device[segment->device] || !is_meant(s, clearing, alloc->owner))
    return false;
  if (alloc->busy || alloc->moving)
    return false;
  if (flags & STATE_MODEL)
    return false;
  if (clearing->params.scope == WORK_CLEAR_LOST)
    return segment->share.kind == SHARE_NONE && (!alloc->attachments || clearing->params.force);
  bool protected = alloc->attachments || (flags & (STATE_PINNED | STATE_PERSISTENT));
  if (protected && !clearing->params.force)
    return false;
  return clearing->params.scope == WORK_CLEAR_ALL || is_idle(s, clearing, alloc);
}

static void drop(struct clearing *clearing, uint32_t index) {
  struct service *s = clearing->service;
  const struct state_segment *segment = state_segment(s, state_alloc(s, index)->segment);
  struct job_clear_device *row =
      &clearing->result.devices[clearing->of_device[segment->device] - 1];
  uint64_t size = segment->size;
  clearing->result.cleared_allocations++;
  clearing->unfinished++;
  if (record_drop(s, index,
                  &(struct record_end){.why = EVENTS_ALLOCATION_FREED,
                                       .correlation = clearing->task.correlation,
                                       .then = one_done,
                                       .arg = clearing}))
    row->cleared_bytes += size;
  else
    clearing->unfinished--;
}

/* The next allocations by id; false at the end. */
static bool drop_some(struct clearing *clearing, uint64_t *after) {
  struct service *s = clearing->service;
  LOCK_SCOPE(&s->lock);
  for (unsigned i = 0; i < CLEAR_BATCH; i++) {
    const struct idmap_entry *entry = idmap_next(&s->alloc_ids, *after);
    if (!entry)
      return false;
    *after = entry->id;
    if (goes(s, clearing, state_alloc(s, entry->value)))
      drop(clearing, entry->value);
  }
  return true;
}

static void drop_caches(struct clearing *clearing) {
  struct service *s = clearing->service;
  LOCK_SCOPE(&s->lock);
  for (uint32_t i = 0; i < clearing->result.device_count; i++) {
    uint32_t count;
    clearing->result.devices[i].cleared_bytes +=
        space_release_cached(s, clearing->devices[i], one_done, clearing, &count);
    clearing->unfinished += count;
  }
}

/* ---- copies in RAM ---- */

/* On whichever thread ended the job. */
static void copy_gone(struct job_waiter *waiter) {
  struct clearing *clearing =
      (struct clearing *)((char *)waiter - offsetof(struct clearing, copy.waiter));
  struct job_view view;
  job_look(clearing->copy.job, &view);
  job_give(clearing->copy.job);
  clearing->copy.failed = view.state != JOB_COMPLETED;
  if (!clearing->copy.failed) {
    clearing->copy.row->cleared_bytes += clearing->copy.bytes;
    clearing->result.cleared_allocations += clearing->copy.parts;
  }
  queue_post(clearing->service->decision, &clearing->step);
}

/* Under the lock: weights on a card whose copy on this host device nobody reads. */
static struct models_weights *find_copy(struct clearing *clearing, uint32_t device) {
  struct service *s = clearing->service;
  struct models_weights *found = NULL;
  struct model_room_picture picture;
  if (model_room_look(s, device, &picture))
    return NULL;
  for (uint32_t i = 0; i < picture.snapshot.count; i++) {
    const struct policy_model *model = &picture.models[i];
    struct models_weights *weights = picture.weights[i];
    if (!model->spare || model->busy || !may_clear(s, clearing, weights->owner))
      continue;
    clearing->copy.bytes = model->bytes;
    clearing->copy.parts = weights->part_count;
    found = weights;
    break;
  }
  model_room_free(&picture);
  return found;
}

/* Under the lock: the next of them begins to go. */
static bool begin_copy(struct clearing *clearing) {
  for (uint32_t i = 0; i < clearing->result.device_count && !clearing->copy.failed; i++) {
    struct models_weights *weights = find_copy(clearing, clearing->devices[i]);
    if (!weights)
      continue;
    clearing->copy.row = &clearing->result.devices[i];
    clearing->copy.job =
        model_unload_victim(clearing->service, &clearing->caller, weights, POLICY_DRAIN);
    return clearing->copy.job;
  }
  return false;
}

/* ---- the work ---- */

/* Copies in RAM and workers' caches are let be. */
static bool is_narrow(const struct work_clear *params) {
  return params->scope == WORK_CLEAR_LOST || params->owner[0];
}

/* Again after each copy in RAM. */
static void step(struct task *task) {
  struct clearing *clearing = (struct clearing *)task;
  struct service *s = clearing->service;
  bool narrow = is_narrow(&clearing->params);
  uint64_t after = 0;
  lock_take(&s->lock);
  bool begun = !narrow && begin_copy(clearing);
  lock_give(&s->lock);
  if (begun) {
    clearing->copy.waiter.ready = copy_gone;
    if (!job_wait(clearing->copy.job, &clearing->copy.waiter))
      copy_gone(&clearing->copy.waiter);
    return;
  }
  if (clearing->params.scope != WORK_CLEAR_CACHE)
    while (drop_some(clearing, &after))
      ;
  drop_caches(clearing);
  if (!narrow) /* ends in workers_done, its part of `unfinished` */
    layers_submit(s, &clearing->task, clearing->began_ns);
  one_done(clearing);
}

/* Under the lock. */
static enum status choose_devices(struct service *s, struct clearing *clearing,
                                  struct problem *problem) {
  const struct work_clear *params = &clearing->params;
  uint32_t named;
  if (choice_named(s, params->device, params->memory, &named, problem))
    return problem->status;
  for (uint32_t i = 0; i < s->device_count; i++) {
    if (!choice_has(s, named, params->memory, i))
      continue;
    clearing->devices[clearing->result.device_count] = i;
    clearing->result.devices[clearing->result.device_count++] = (struct job_clear_device){
        .device_id = s->devices[i].info->id, .used_before = state_used(s, &s->devices[i])};
    clearing->of_device[i] = clearing->result.device_count;
  }
  if (named != UINT32_MAX)
    clearing->task.device_id = s->devices[named].info->id;
  if (s->stopping)
    return problem_set(problem, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
  return STATUS_OK;
}

enum status work_clear_start(struct service *s, const struct caller *caller,
                             const struct work_clear *params, struct work_started *out,
                             struct problem *problem) {
  struct clearing *clearing = calloc(1, sizeof *clearing);
  if (!clearing)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  *clearing = (struct clearing){.service = s,
                                .params = *params,
                                .caller = *caller,
                                .began_ns = clock_now(),
                                .unfinished = is_narrow(params) ? 1 : 2}; /* the step itself, and
                                                                              the workers */
  clearing->step.run = step;
  /* What workers do not merely keep for reuse is everybody's: only an admin clears that. */
  clearing->task =
      (struct mover_task){.action = MOVER_CLEAR,
                          .value = caller->role == CALLER_ADMIN ? worker_scopes[params->scope]
                                                                : (uint8_t)MOVER_CLEAR_CACHE,
                          .done = workers_done};
  memcpy(clearing->task.correlation, caller->correlation, sizeof clearing->task.correlation);
  lock_take(&s->lock);
  enum status status = choose_devices(s, clearing, problem);
  if (!status) {
    clearing->job = job_make(
        s,
        &(struct job_params){.kind = JOB_CLEAR, .caller = caller, .id = ledger_next_id(s->ledger)});
    if (!clearing->job)
      status = problem_set(problem, STATUS_RATE_LIMITED, "too many jobs are under way");
  }
  lock_give(&s->lock);
  if (status) {
    free(clearing);
    return status;
  }
  out->job = job_keep(clearing->job);
  job_running(clearing->job);
  queue_post(s->decision, &clearing->step);
  return STATUS_OK;
}
