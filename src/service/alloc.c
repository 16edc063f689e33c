/*
 * alloc: allocate. What fits a slab at hand is done at once; everything else is a chain of steps,
 * each started when the one before it is over, on whichever thread that happens:
 *
 *   try -> (wait for memory) -> place -> commit pages -> zero -> record -> answer
 *
 * A failure on the way gives back what the steps before it took.
 */
#include "service/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/units.h"
#include "service/job_work.h"
#include "service/keys.h"
#include "service/lease.h"
#include "service/quota.h"
#include "service/record.h"
#include "service/waiting.h"

struct making {
  struct space_waiter waiter; /* first: the space hands it back */
  struct waiting_entry queued;
  struct device_call pages;
  struct mover_task zeroing;
  struct mover_segment segment;
  struct mover_move move;
  struct service *service;
  struct alloc_params params;
  struct record_facts facts;
  struct caller caller;
  uint64_t pid_start;
  struct job *job;
  struct problem problem;
};

static uint32_t args_hash(const struct alloc_params *params) {
  uint64_t words[] = {params->size_bytes,
                      params->alignment_bytes,
                      (uint64_t)params->memory,
                      (uint64_t)params->purpose,
                      (uint64_t)params->priority,
                      (uint64_t)params->share,
                      (uint64_t)params->strategy,
                      params->persistent,
                      params->pinned,
                      params->zero,
                      params->commit,
                      params->ttl_seconds,
                      params->owner_pid};
  XXH64_hash_t device = XXH3_64bits(params->device, strlen(params->device));
  XXH64_hash_t label = XXH3_64bits_withSeed(params->label, strlen(params->label), device);
  return (uint32_t)XXH3_64bits_withSeed(words, sizeof words, label);
}

static void answer_of(const struct service *s, uint32_t index, struct job_allocate *out) {
  state_view_alloc(s, index, &out->allocation);
  const struct state_device *device =
      &s->devices[state_segment(s, state_alloc(s, index)->segment)->device];
  out->available_bytes = state_available(s, device);
  out->utilization = units_percent(state_used(s, device), device->info->total_bytes);
}

/* ---- choosing a device ---- */

static enum placement_memory memory_of(const struct device_info *info) {
  return info->memory == DEVICE_RAM ? PLACEMENT_RAM : PLACEMENT_VRAM;
}

/* Room in the owner's slabs counts too: a device may be full and still have it. */
static uint64_t room_for(const struct service *s, uint32_t device, const struct making *making) {
  uint64_t room = state_available(s, &s->devices[device]);
  uint64_t size = making->params.size_bytes;
  if (room >= size || !making->facts.owner)
    return room;
  for (uint32_t i = state_owner(s, making->facts.owner)->slabs[device]; i;
       i = state_segment(s, i)->slab_next) {
    const struct state_segment *segment = state_segment(s, i);
    if (segment->span && span_may_fit(segment->span, size, making->params.alignment_bytes))
      return size;
  }
  return room;
}

static uint32_t rank(const struct service *s, const struct making *making, uint32_t named,
                     struct placement_verdict *verdicts) {
  struct placement_candidate candidates[VIEW_DEVICES];
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    candidates[i] = (struct placement_candidate){
        .id = device->info->id,
        .memory = memory_of(device->info),
        .healthy = device->answering,
        .named = named == UINT32_MAX || named == i,
        .available_bytes = room_for(s, i, making),
        .limit_bytes = device->limit,
        .utilization_hundredths = units_percent(state_used(s, device), device->info->total_bytes)};
  }
  struct placement_request request = {.size_bytes = making->params.size_bytes,
                                      .memory = (enum placement_memory)making->params.memory,
                                      .strategy = (enum placement_strategy)making->params.strategy};
  return placement_rank(&request, candidates, s->device_count, verdicts);
}

static void placement_of(const struct service *s, const struct making *making,
                         const struct placement_verdict *verdicts, struct alloc_made *out) {
  struct placement_request request = {.size_bytes = making->params.size_bytes,
                                      .strategy = (enum placement_strategy)making->params.strategy};
  uint32_t fitting = 0;
  out->placement.count = s->device_count;
  for (uint32_t i = 0; i < s->device_count; i++) {
    out->placement.candidates[i].device_id = s->devices[verdicts[i].index].info->id;
    out->placement.candidates[i].score = verdicts[i].score;
    out->placement.candidates[i].rejected = verdicts[i].rejected;
    fitting += !verdicts[i].rejected;
  }
  out->placement.device_id = fitting ? out->placement.candidates[0].device_id : NULL;
  out->placement.reason =
      making->params.device[0] ? "asked for" : placement_reason(&request, fitting);
}

/* ---- refusing ---- */

/* The device that the numbers of a 507 are about: the one that was asked for, else the one with
 * most room. */
static const struct state_device *subject_of(const struct service *s, const struct making *making,
                                             uint32_t named) {
  const struct state_device *best = NULL;
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    if (named != UINT32_MAX && named != i)
      continue;
    if (making->params.memory != PLACEMENT_ANY &&
        (int)memory_of(device->info) != making->params.memory)
      continue;
    if (!best || state_available(s, device) > state_available(s, best))
      best = device;
  }
  return best;
}

static enum status refuse_space(const struct service *s, struct making *making, uint32_t named,
                                const char *reason) {
  const struct state_device *device = subject_of(s, making, named);
  struct problem *problem = &making->problem;
  if (!device)
    return problem_set(problem, STATUS_DEVICE_UNAVAILABLE, "there is no device with %s",
                       making->params.memory == PLACEMENT_VRAM ? "VRAM" : "RAM");
  if (!device->answering)
    return problem_set(problem, STATUS_DEVICE_UNAVAILABLE, "%s does not answer", device->info->id);
  char size[32], available[32];
  units_format(making->params.size_bytes, size, sizeof size);
  units_format(state_available(s, device), available, sizeof available);
  if (making->params.size_bytes > device->limit)
    problem_set(problem, STATUS_ALLOCATION_TOO_LARGE, "%s is more than %s may ever hold", size,
                device->info->id);
  else
    problem_set(problem, STATUS_INSUFFICIENT_MEMORY, "%s does not fit: %s has %s available", size,
                device->info->id, available);
  problem->has_space = true;
  state_space_problem(s, device, making->params.size_bytes, &problem->space);
  snprintf(problem->space.reason, sizeof problem->space.reason, "%s", reason);
  return problem->status;
}

/* ---- the steps ---- */

static void set_result(struct job_view *view, void *arg) {
  view->result.allocate = *(struct job_allocate *)arg;
}

/* The end of a chain that had to wait. */
static void finish(struct making *making) {
  job_finish(making->job, &making->problem);
  free(making);
}

static void fail(struct making *making, enum status status, bool placed) {
  struct service *s = making->service;
  lock_take(&s->lock);
  if (placed)
    space_give(s, &making->waiter.place, NULL, NULL);
  quota_uncharge(s, making->facts.owner, making->params.size_bytes);
  if (!making->problem.status && status == STATUS_INSUFFICIENT_MEMORY)
    refuse_space(s, making, making->waiter.want.device, "");
  lock_give(&s->lock);
  if (!making->problem.status)
    problem_set(&making->problem, status, "the memory could not be made ready: %s",
                status_text(status));
}

/* Under the lock: the allocation becomes visible. */
static enum status record(struct making *making, struct job_allocate *answer) {
  struct service *s = making->service;
  uint32_t index;
  enum status status = record_commit(s, &making->waiter.place, &making->facts, &index);
  if (!status)
    answer_of(s, index, answer);
  return status;
}

static void step_record(struct making *making) {
  struct service *s = making->service;
  struct job_allocate answer = {0};
  lock_take(&s->lock);
  enum status status = record(making, &answer);
  lock_give(&s->lock);
  if (status)
    fail(making, status, true);
  else
    job_update(making->job, set_result, &answer);
  finish(making);
}

static void zeroed(struct mover_task *task) {
  struct making *making = (struct making *)((char *)task - offsetof(struct making, zeroing));
  making->problem = task->problem;
  if (!task->problem.status) {
    step_record(making);
    return;
  }
  fail(making, task->problem.status, true);
  finish(making);
}

static bool needs_zeroing(const struct making *making) {
  bool fresh_is_zero = making->service->devices[making->waiter.want.device].info->fresh_is_zero;
  return !fresh_is_zero || (making->params.zero && !making->waiter.fresh);
}

static void step_zero(struct making *making) {
  struct service *s = making->service;
  if (!needs_zeroing(making)) {
    step_record(making);
    return;
  }
  const struct space *place = &making->waiter.place;
  lock_take(&s->lock);
  making->segment = record_mover_segment(s, place->segment);
  lock_give(&s->lock);
  making->move = (struct mover_move){.to_offset = place->offset, .size = place->size};
  making->zeroing = (struct mover_task){.action = MOVER_FILL,
                                        .segments = &making->segment,
                                        .segment_count = 1,
                                        .moves = &making->move,
                                        .move_count = 1,
                                        .done = zeroed};
  memcpy(making->zeroing.correlation, making->caller.correlation,
         sizeof making->zeroing.correlation);
  s->mover->submit(s->mover_ctx, &making->zeroing);
}

static void pages_ready(struct device_call *call) {
  struct making *making = (struct making *)((char *)call - offsetof(struct making, pages));
  if (!call->status) {
    step_zero(making);
    return;
  }
  fail(making, call->status, true);
  finish(making);
}

static void step_pages(struct making *making) {
  struct service *s = making->service;
  if (!making->params.commit) {
    step_zero(making);
    return;
  }
  const struct space *place = &making->waiter.place;
  lock_take(&s->lock);
  struct state_segment *segment = state_segment(s, place->segment);
  struct device *device = s->devices[segment->device].device;
  making->pages = (struct device_call){.action = DEVICE_COMMIT,
                                       .offset = place->offset,
                                       .size = place->size,
                                       .share = segment->share,
                                       .done = pages_ready};
  lock_give(&s->lock);
  device_start(device, &making->pages);
}

static void placed(struct space_waiter *waiter) {
  struct making *making = (struct making *)waiter;
  if (!waiter->status) {
    step_pages(making);
    return;
  }
  fail(making, waiter->status, false);
  finish(making);
}

/* Under the lock. OK: recorded, *answer is filled. PENDING: the chain runs. Else the problem says
 * why; nothing was taken. */
static enum status attempt(struct making *making, struct alloc_made *out) {
  struct service *s = making->service;
  struct placement_verdict verdicts[VIEW_DEVICES];
  uint32_t named = UINT32_MAX;
  enum status status = making->params.device[0]
                           ? state_find_device(s, making->params.device, &named, &making->problem)
                           : STATUS_OK;
  if (status)
    return status;
  uint32_t fitting = rank(s, making, named, verdicts);
  placement_of(s, making, verdicts, out);
  char reason[16] = "";
  for (uint32_t i = 0; i < fitting; i++) {
    making->waiter.want = (struct space_want){.device = verdicts[i].index,
                                              .owner = making->facts.owner,
                                              .size = making->params.size_bytes,
                                              .alignment = making->params.alignment_bytes,
                                              .dedicated = making->params.share != VIEW_SHARE_NONE};
    status = space_take(s, &making->waiter, reason);
    if (status == STATUS_OK || status == STATUS_PENDING)
      return status;
  }
  return refuse_space(s, making, named, reason);
}

/* ---- waiting for memory ---- */

static bool attempt_again(struct waiting_entry *entry, bool expired) {
  struct making *making = (struct making *)((char *)entry - offsetof(struct making, queued));
  struct service *s = making->service;
  struct alloc_made ignored;
  making->problem.status = STATUS_OK;
  lock_take(&s->lock);
  enum status status = s->stopping
                           ? problem_set(&making->problem, STATUS_CANCELLED, "the daemon stops")
                           : attempt(making, &ignored);
  if (status && status != STATUS_PENDING && (expired || s->stopping))
    quota_uncharge(s, making->facts.owner, making->params.size_bytes);
  lock_give(&s->lock);
  if (status == STATUS_PENDING)
    return true;
  if (status == STATUS_OK) {
    step_pages(making);
    return true;
  }
  if (!expired && status != STATUS_CANCELLED)
    return false;
  finish(making);
  return true;
}

static enum status wait_for_memory(struct making *making) {
  making->queued =
      (struct waiting_entry){.deadline = clock_now() + making->params.wait_ms * CLOCK_MS,
                             .priority = making->params.priority,
                             .device = UINT32_MAX,
                             .attempt = attempt_again};
  uint32_t named;
  struct problem ignored;
  if (making->params.device[0] &&
      !state_find_device(making->service, making->params.device, &named, &ignored))
    making->queued.device = named;
  if (waiting_add(making->service, &making->queued))
    return problem_set(&making->problem, STATUS_RATE_LIMITED, "too many requests wait for memory");
  return STATUS_PENDING;
}

/* ---- the operation ---- */

static enum status check(struct service *s, struct making *making) {
  struct alloc_params *params = &making->params;
  struct problem *problem = &making->problem;
  uint32_t device;
  if (params->device[0] && state_find_device(s, params->device, &device, problem))
    return problem->status;
  if (params->device[0] && params->memory != PLACEMENT_ANY &&
      (int)memory_of(s->devices[device].info) != params->memory)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "memoryType", "%s has %s memory",
                         s->devices[device].info->id,
                         memory_of(s->devices[device].info) == PLACEMENT_RAM ? "RAM" : "VRAM");
  if (!params->owner_pid)
    return STATUS_OK;
  making->pid_start = spawn_start_time((int32_t)params->owner_pid);
  if (!making->pid_start)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "ownerPid", "no process %llu",
                         (unsigned long long)params->owner_pid);
  return STATUS_OK;
}

/* Under the lock: whose it will be, and what its record will say. */
static enum status describe(struct service *s, struct making *making) {
  const struct alloc_params *params = &making->params;
  const struct caller *caller = &making->caller;
  int32_t pid = params->owner_pid ? (int32_t)params->owner_pid : caller->pid;
  uint64_t start = params->owner_pid ? making->pid_start : caller->pid_start;
  /* A time or persistence unties the memory from the process that asked. */
  if (!params->owner_pid && (params->persistent || params->ttl_seconds))
    pid = 0, start = 0;
  uint32_t owner = state_owner_of(s, caller, pid, start);
  if (!owner)
    return problem_set(&making->problem, STATUS_QUOTA_EXCEEDED, "too many owners");
  if (pid && !state_owner(s, owner)->watched)
    lease_watch(s, owner);
  making->facts = (struct record_facts){
      .size = params->size_bytes,
      .alignment = params->alignment_bytes,
      .expires_boot_ns =
          params->ttl_seconds ? clock_boot() + params->ttl_seconds * CLOCK_SECOND : 0,
      .key_args = args_hash(params),
      .owner = owner,
      .purpose = (uint8_t)params->purpose,
      .priority = (uint8_t)params->priority,
      .flags = (uint8_t)((params->persistent ? STATE_PERSISTENT : 0) |
                         (params->pinned ? STATE_PINNED : 0) |
                         (params->share == VIEW_SHARE_READ    ? STATE_SHARE_READ
                          : params->share == VIEW_SHARE_WRITE ? STATE_SHARE_WRITE
                                                              : 0)),
      .label = making->params.label,
      .correlation = making->caller.correlation};
  keys_hash(caller, making->facts.key);
  return STATUS_OK;
}

/* The result of the same key before, if there is one. */
static enum status repeated(struct service *s, const struct making *making, struct alloc_made *out,
                            struct problem *problem) {
  uint32_t index = keys_find(s, making->facts.key);
  if (!index)
    return STATUS_NOT_FOUND;
  if (state_record(s, state_alloc(s, index))->key_args != making->facts.key_args)
    return problem_set(problem, STATUS_CONFLICT,
                       "this Idempotency-Key came with other arguments before");
  answer_of(s, index, &out->answer);
  out->placement.device_id = out->answer.allocation.device_id;
  out->placement.reason = "made before with this key";
  return STATUS_OK;
}

static enum status dry_run(const struct service *s, const struct making *making,
                           struct alloc_made *out, struct problem *problem) {
  struct placement_verdict verdicts[VIEW_DEVICES];
  uint32_t named = UINT32_MAX;
  if (making->params.device[0] && state_find_device(s, making->params.device, &named, problem))
    return problem->status;
  rank(s, making, named, verdicts);
  placement_of(s, making, verdicts, out);
  return STATUS_OK;
}

/* *chained: the place is taken, and the caller's thread goes on with the next step. */
static enum status start(struct making *making, struct alloc_made *out, bool *chained) {
  struct service *s = making->service;
  if (s->stopping)
    return problem_set(&making->problem, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
  enum status status = describe(s, making);
  if (status)
    return status;
  status = repeated(s, making, out, &making->problem);
  if (status != STATUS_NOT_FOUND)
    return status;
  if (making->params.dry_run)
    return dry_run(s, making, out, &making->problem);
  const struct state_device *device = subject_of(s, making, UINT32_MAX);
  status = quota_charge(s, making->facts.owner, making->params.size_bytes,
                        device ? device : &s->devices[0], &making->problem);
  if (status)
    return status;
  status = attempt(making, out);
  if (status == STATUS_INSUFFICIENT_MEMORY && making->params.wait_ms)
    status = wait_for_memory(making);
  bool at_once = status == STATUS_OK && !making->params.commit && !needs_zeroing(making);
  if (at_once && record(making, &out->answer)) {
    space_give(s, &making->waiter.place, NULL, NULL);
    status = refuse_space(s, making, making->waiter.want.device, "records");
  }
  if (status && status != STATUS_PENDING)
    quota_uncharge(s, making->facts.owner, making->params.size_bytes);
  if (status || at_once)
    return status;
  *chained = true;
  return STATUS_PENDING;
}

enum status alloc_make(struct service *s, const struct caller *caller,
                       const struct alloc_params *params, struct alloc_made *out,
                       struct problem *problem) {
  struct making *making = calloc(1, sizeof *making);
  struct job *job =
      making ? job_make(s, &(struct job_params){.kind = JOB_ALLOCATE, .caller = caller}) : NULL;
  if (!job) {
    free(making);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  }
  making->service = s;
  making->params = *params;
  making->caller = *caller;
  making->waiter.ready = placed;
  making->job = job_keep(job);
  bool chained = false;
  enum status status = check(s, making);
  if (!status) {
    LOCK_SCOPE(&s->lock);
    status = start(making, out, &chained);
  }
  out->job = status == STATUS_PENDING ? job : NULL;
  if (chained)
    step_pages(making);
  if (status == STATUS_PENDING)
    return status; /* `making` is its chain's now */
  *problem = making->problem;
  job_give(job);
  job_give(job);
  free(making);
  return status;
}
