/*
 * work_transfer: bytes from one device to another. Plan-copy-commit: the target's place is taken
 * and the source marked, the worker copies, then the ledger switches (move) or gains an allocation
 * (copy). Whatever happens on the way, the source is as it was until that one step; a job reads
 * failed only after what it had reserved is given back.
 *
 *   target's place -> (trial: source's place) -> mover -> commit -> places that are no longer
 * needed -> finished
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/units.h"
#include "service/job_work.h"
#include "service/keys.h"
#include "service/quota.h"
#include "service/record.h"
#include "service/work.h"

struct transfer {
  struct space_waiter target; /* first: the space hands it back */
  struct space_waiter origin; /* a trial's own source */
  struct mover_task task;
  struct mover_segment segments[2];
  struct mover_move move;
  struct service *service;
  struct job *job;
  struct work_transfer params;
  struct record_facts facts; /* of the copy */
  char label[VIEW_LABEL], correlation[65];
  uint32_t source_device, target_device;
  uint32_t alloc; /* 0: a trial */
  uint64_t offset, size;
  uint64_t started_ns;
  struct problem problem;
};

static void step_source(struct transfer *transfer);

/* ---- the end ---- */

static void finish(void *arg) {
  struct transfer *transfer = arg;
  struct service *s = transfer->service;
  const struct problem *problem = &transfer->problem;
  enum events_type type = problem->status == STATUS_OK          ? EVENTS_TRANSFER_COMPLETED
                          : problem->status == STATUS_CANCELLED ? EVENTS_TRANSFER_CANCELLED
                                                                : EVENTS_TRANSFER_FAILED;
  struct events_record event = {.type = (uint8_t)type,
                                .subject = job_id(transfer->job),
                                .bytes = transfer->size,
                                .device = (uint8_t)(transfer->source_device + 1),
                                .other_device = (uint8_t)(transfer->target_device + 1)};
  events_set_text(&event, transfer->correlation);
  events_add(s->events, &event);
  job_finish(transfer->job, problem);
  free(transfer);
}

/* Under the lock: the marks of a transfer that is over, one way or the other. */
static void unmark(struct transfer *transfer) {
  if (!transfer->alloc)
    return;
  struct state_alloc *alloc = state_alloc(transfer->service, transfer->alloc);
  if (transfer->params.mode)
    alloc->moving = 0;
  else
    alloc->busy--;
}

static void give_origin(void *arg) {
  struct transfer *transfer = arg;
  struct service *s = transfer->service;
  bool waits = false;
  lock_take(&s->lock);
  if (transfer->origin.place.segment)
    waits = space_give(s, &transfer->origin.place, finish, transfer);
  lock_give(&s->lock);
  if (!waits)
    finish(transfer);
}

/* Gives the target's place back, then the trial's source, then ends. */
static void give_back(struct transfer *transfer) {
  struct service *s = transfer->service;
  bool waits = false;
  lock_take(&s->lock);
  unmark(transfer);
  if (!transfer->params.mode && transfer->alloc)
    quota_uncharge(s, transfer->facts.owner, transfer->size);
  if (transfer->target.place.segment)
    waits = space_give(s, &transfer->target.place, give_origin, transfer);
  lock_give(&s->lock);
  if (!waits)
    give_origin(transfer);
}

static void fail(struct transfer *transfer, enum status status, const char *what) {
  problem_set(&transfer->problem, status, "%s: %s", what, status_text(status));
  give_back(transfer);
}

/* ---- commit ---- */

static void set_result(struct job_view *view, void *arg) {
  const struct transfer *transfer = arg;
  const struct mover_task *task = &transfer->task;
  struct job_transfer *result = &view->result.transfer;
  result->path = task->path;
  result->path_known = task->path_known;
  result->checksum = task->checksum;
  result->checksum_known = task->checksum_known;
  result->verified_known = transfer->params.verify && !task->problem.status;
  result->verified = task->verified;
}

static void set_target(struct job_view *view, void *arg) {
  view->result.transfer.target_allocation = *(uint64_t *)arg;
}

static void measure(struct transfer *transfer) {
  struct state_device *device = &transfer->service->devices[transfer->source_device];
  double seconds = (double)(clock_now() - transfer->started_ns) / 1e9;
  double rate = seconds > 0 ? (double)transfer->size / seconds : 0;
  double *best = &device->rates[transfer->target_device];
  if (rate > *best)
    *best = rate;
}

/* Under the lock. */
static enum status commit_copy(struct transfer *transfer) {
  struct service *s = transfer->service;
  uint32_t made;
  record_touch(s, transfer->alloc);
  enum status status = record_commit(s, &transfer->target.place, &transfer->facts, &made);
  if (status)
    return status;
  uint64_t id = state_alloc(s, made)->id;
  job_update(transfer->job, set_target, &id);
  return STATUS_OK;
}

/* Under the lock: the allocation lives at the target from here on; what remains to be given back is
 * its old place. */
static enum status commit_move(struct transfer *transfer) {
  struct service *s = transfer->service;
  struct space old;
  enum status status = record_switch(s, transfer->alloc, &transfer->target.place, &old);
  if (status)
    return status;
  record_touch(s, transfer->alloc);
  state_alloc_event(s, transfer->alloc, EVENTS_ALLOCATION_MOVED, transfer->correlation);
  transfer->target.place = old;
  return STATUS_OK;
}

static void commit(struct transfer *transfer) {
  struct service *s = transfer->service;
  lock_take(&s->lock);
  measure(transfer);
  enum status status = !transfer->alloc        ? STATUS_OK
                       : transfer->params.mode ? commit_move(transfer)
                                               : commit_copy(transfer);
  bool copied = !status && transfer->alloc && !transfer->params.mode;
  if (copied)
    unmark(transfer);
  lock_give(&s->lock);
  if (copied)
    finish(transfer);
  else if (status)
    fail(transfer, status, "the new place could not be recorded");
  else
    give_back(transfer);
}

/* ---- the mover ---- */

static void progress(struct mover_task *task, uint64_t bytes_done) {
  struct transfer *transfer = (struct transfer *)((char *)task - offsetof(struct transfer, task));
  job_progress(transfer->job, bytes_done);
}

static void copied(struct mover_task *task) {
  struct transfer *transfer = (struct transfer *)((char *)task - offsetof(struct transfer, task));
  job_update(transfer->job, set_result, transfer);
  transfer->problem = task->problem;
  if (task->problem.status)
    give_back(transfer);
  else
    commit(transfer);
}

static void step_copy(struct transfer *transfer) {
  struct service *s = transfer->service;
  if (job_cancelled(transfer->job)) {
    problem_set(&transfer->problem, STATUS_CANCELLED, "cancelled before the first byte");
    give_back(transfer);
    return;
  }
  lock_take(&s->lock);
  struct space from = transfer->alloc ? record_place(s, transfer->alloc) : transfer->origin.place;
  const struct space *to = &transfer->target.place;
  transfer->segments[0] = record_mover_segment(s, from.segment);
  transfer->segments[1] = record_mover_segment(s, to->segment);
  transfer->move = (struct mover_move){.from = 0,
                                       .to = 1,
                                       .from_offset = from.offset + transfer->offset,
                                       .to_offset = to->offset,
                                       .size = transfer->size};
  lock_give(&s->lock);
  transfer->task = (struct mover_task){.action = MOVER_TRANSFER,
                                       .subject = job_id(transfer->job),
                                       .segments = transfer->segments,
                                       .segment_count = 2,
                                       .moves = &transfer->move,
                                       .move_count = 1,
                                       .verify = transfer->params.verify,
                                       .progress = progress,
                                       .done = copied};
  memcpy(transfer->task.correlation, transfer->correlation, sizeof transfer->task.correlation);
  transfer->started_ns = clock_now();
  job_running(transfer->job);
  s->mover->submit(s->mover_ctx, &transfer->task);
}

/* ---- places ---- */

static void origin_ready(struct space_waiter *waiter) {
  struct transfer *transfer =
      (struct transfer *)((char *)waiter - offsetof(struct transfer, origin));
  if (waiter->status)
    fail(transfer, waiter->status, "no room for the trial's source");
  else
    step_copy(transfer);
}

static void step_source(struct transfer *transfer) {
  struct service *s = transfer->service;
  if (transfer->alloc) {
    step_copy(transfer);
    return;
  }
  char reason[16];
  transfer->origin.ready = origin_ready;
  transfer->origin.want = transfer->target.want;
  transfer->origin.want.device = transfer->source_device;
  lock_take(&s->lock);
  enum status status = space_take(s, &transfer->origin, reason);
  lock_give(&s->lock);
  if (status == STATUS_PENDING)
    return;
  transfer->origin.status = status;
  origin_ready(&transfer->origin);
}

static void target_ready(struct space_waiter *waiter) {
  struct transfer *transfer = (struct transfer *)waiter;
  if (waiter->status)
    fail(transfer, waiter->status, "no room at the target");
  else
    step_source(transfer);
}

/* ---- checks ---- */

static enum status check_devices(struct service *s, struct transfer *transfer) {
  const struct work_transfer *params = &transfer->params;
  struct problem *problem = &transfer->problem;
  enum status status = state_find_device(s, params->source, &transfer->source_device, problem);
  if (!status)
    status = state_find_device(s, params->target, &transfer->target_device, problem);
  if (status)
    return status;
  if (transfer->source_device == transfer->target_device)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "targetDeviceId",
                         "source and target are the same device; use operations/copy within one");
  if (params->allocation)
    return STATUS_OK;
  if (params->mode)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "mode",
                         "a trial transfer cannot move anything");
  if (!params->size_bytes)
    return problem_field(problem, STATUS_MISSING_PARAMETER, "allocationId",
                         "name an allocation, or sizeBytes alone for a measured trial");
  transfer->size = params->size_bytes;
  return STATUS_OK;
}

static enum status check_range(struct transfer *transfer, uint64_t have) {
  const struct work_transfer *params = &transfer->params;
  struct problem *problem = &transfer->problem;
  if (params->mode && params->part)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "mode", "only a copy can be of a part");
  if (params->offset_bytes >= have)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "offsetBytes",
                         "beyond the allocation's %llu bytes", (unsigned long long)have);
  if (params->size_bytes > have - params->offset_bytes)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "sizeBytes",
                         "only %llu bytes from that offset on",
                         (unsigned long long)(have - params->offset_bytes));
  transfer->offset = params->offset_bytes;
  transfer->size = params->size_bytes ? params->size_bytes : have - params->offset_bytes;
  return STATUS_OK;
}

static enum status check_state(struct service *s, struct transfer *transfer) {
  const struct state_alloc *alloc = state_alloc(s, transfer->alloc);
  struct problem *problem = &transfer->problem;
  uint32_t device = state_segment(s, alloc->segment)->device;
  if (device != transfer->source_device)
    return problem_set(problem, STATUS_CONFLICT, "the allocation is on %s, not on %s",
                       s->devices[device].info->id, s->devices[transfer->source_device].info->id);
  enum status status = record_usable(s, transfer->alloc, problem);
  if (status || !transfer->params.mode)
    return status;
  if (alloc->attachments || alloc->busy)
    return problem_set(problem, STATUS_ALLOCATION_BUSY,
                       "the allocation is in use and cannot be moved");
  if (state_record(s, alloc)->flags & STATE_PINNED)
    return problem_set(problem, STATUS_CONFLICT, "the allocation is pinned and cannot be moved");
  return STATUS_OK;
}

/* Under the lock: all checks; what the copy's record will say. */
static enum status check(struct service *s, const struct caller *caller,
                         struct transfer *transfer) {
  enum status status = check_devices(s, transfer);
  if (status)
    return status;
  transfer->facts.owner = state_owner_of(s, caller, caller->pid, caller->pid_start);
  if (!transfer->facts.owner)
    return problem_set(&transfer->problem, STATUS_QUOTA_EXCEEDED, "too many owners");
  transfer->facts.alignment = 256;
  if (!transfer->params.allocation)
    return STATUS_OK;
  status = state_find_alloc(s, caller, transfer->params.allocation, &transfer->alloc,
                            &transfer->problem);
  if (status)
    return status;
  const struct state_alloc *alloc = state_alloc(s, transfer->alloc);
  const struct ledger_allocation *source = state_record(s, alloc);
  status = check_range(transfer, source->size_bytes);
  if (!status)
    status = check_state(s, transfer);
  if (status)
    return status;
  if (transfer->params.mode)
    transfer->facts.owner = alloc->owner;
  snprintf(transfer->label, sizeof transfer->label, "%s", alloc->label ? alloc->label : "");
  transfer->facts.size = transfer->size;
  transfer->facts.alignment = UINT64_C(1) << source->alignment_log2;
  transfer->facts.purpose = source->purpose;
  transfer->facts.priority = source->priority;
  transfer->facts.flags = source->flags & (STATE_SHARE_READ | STATE_SHARE_WRITE);
  transfer->facts.label = transfer->label;
  transfer->facts.correlation = transfer->correlation;
  return STATUS_OK;
}

/* ---- dry run ---- */

static enum pressure_level level_after(const struct service *s, const struct state_device *device,
                                       int64_t change) {
  struct pressure_figures figures = {.used_bytes = state_used(s, device) + (uint64_t)change,
                                     .reclaimable_cache_bytes = device->cached,
                                     .total_bytes = device->info->total_bytes,
                                     .committed_bytes = device->committed + (uint64_t)change,
                                     .limit_bytes = device->limit};
  return pressure_next(&s->thresholds, device->pressure.level, pressure_percent(&figures));
}

static void impact(const struct service *s, const struct transfer *transfer,
                   struct work_impact *out) {
  const struct state_device *source = &s->devices[transfer->source_device];
  const struct state_device *target = &s->devices[transfer->target_device];
  uint64_t available = state_available(s, target);
  double rate = source->rates[transfer->target_device];
  int64_t size = (int64_t)transfer->size;
  *out = (struct work_impact){
      .would_fit = transfer->size <= available,
      .expected_seconds = rate > 0 ? (double)transfer->size / rate : -1,
      .target_available_after = units_minus(available, transfer->size),
      .target_pressure_after = level_after(s, target, size),
      .source_pressure_after = level_after(s, source, transfer->params.mode ? -size : 0),
      .attachments = transfer->alloc ? state_alloc(s, transfer->alloc)->attachments : 0};
}

/* ---- start ---- */

static void set_start(struct job_view *view, void *arg) {
  const struct transfer *transfer = arg;
  const struct service *s = transfer->service;
  struct job_transfer *result = &view->result.transfer;
  *result = (struct job_transfer){.allocation = transfer->params.allocation,
                                  .move = transfer->params.mode,
                                  .trial = !transfer->alloc,
                                  .verify = transfer->params.verify,
                                  .size_bytes = transfer->size};
  if (result->move)
    result->target_allocation = result->allocation;
  snprintf(result->source_device, SPEC_ID, "%s", s->devices[transfer->source_device].info->id);
  snprintf(result->target_device, SPEC_ID, "%s", s->devices[transfer->target_device].info->id);
}

static uint32_t args_hash(const struct work_transfer *params) {
  uint64_t words[] = {params->allocation, params->offset_bytes, params->size_bytes,
                      (uint64_t)params->mode, params->verify};
  uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a: a few words, told apart, not defended */
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
    hash = (hash ^ words[i]) * UINT64_C(0x100000001b3);
  for (const char *c = params->source; *c; c++)
    hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
  for (const char *c = params->target; *c; c++)
    hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
  return (uint32_t)(hash ^ (hash >> 32));
}

static enum status refuse_space(struct service *s, struct transfer *transfer, enum status status) {
  const struct state_device *device = &s->devices[transfer->target_device];
  char size[32], available[32];
  units_format(transfer->size, size, sizeof size);
  units_format(state_available(s, device), available, sizeof available);
  problem_set(&transfer->problem, status, "%s does not fit: %s has %s available", size,
              device->info->id, available);
  transfer->problem.has_space = true;
  state_space_problem(s, device, transfer->size, &transfer->problem.space);
  return status;
}

/* Under the lock: the job, the marks, the target's place. *at_once: the place is taken and the
 * caller goes on. */
static enum status launch(struct service *s, const struct caller *caller, struct transfer *transfer,
                          const uint64_t key[2], bool *at_once) {
  char reason[16];
  bool copy = transfer->alloc && !transfer->params.mode;
  const struct state_device *device = &s->devices[transfer->target_device];
  enum status status =
      copy ? quota_charge(s, transfer->facts.owner, transfer->size, device, &transfer->problem)
           : STATUS_OK;
  if (status)
    return status;
  transfer->job = job_make(s, &(struct job_params){.kind = JOB_TRANSFER,
                                                   .caller = caller,
                                                   .id = ledger_next_id(s->ledger),
                                                   .bytes_total = transfer->size,
                                                   .cancellable = true});
  if (!transfer->job) {
    if (copy)
      quota_uncharge(s, transfer->facts.owner, transfer->size);
    return problem_set(&transfer->problem, STATUS_RATE_LIMITED, "too many jobs are under way");
  }
  transfer->target.want = (struct space_want){.device = transfer->target_device,
                                              .owner = transfer->facts.owner,
                                              .size = transfer->size,
                                              .alignment = transfer->facts.alignment,
                                              .dedicated = transfer->facts.flags != 0};
  transfer->target.ready = target_ready;
  status = space_take(s, &transfer->target, reason);
  if (status && status != STATUS_PENDING) {
    if (copy)
      quota_uncharge(s, transfer->facts.owner, transfer->size);
    job_forget(transfer->job);
    return refuse_space(s, transfer, status);
  }
  if (transfer->alloc && transfer->params.mode)
    state_alloc(s, transfer->alloc)->moving = 1;
  else if (transfer->alloc)
    state_alloc(s, transfer->alloc)->busy++;
  job_update(transfer->job, set_start, transfer);
  if (key[0])
    job_set_key(transfer->job, key, args_hash(&transfer->params));
  *at_once = status == STATUS_OK;
  return STATUS_OK;
}

static enum status repeated(struct service *s, const struct transfer *transfer,
                            const uint64_t key[2], struct work_started *out,
                            struct problem *problem) {
  uint32_t args = 0;
  struct job *job = key[0] ? job_by_key(s, key, &args) : NULL;
  if (!job)
    return STATUS_NOT_FOUND;
  if (args == args_hash(&transfer->params)) {
    out->job = job;
    return STATUS_OK;
  }
  job_give(job);
  return problem_set(problem, STATUS_CONFLICT,
                     "this Idempotency-Key came with other arguments before");
}

/* Under the lock. *runs: `transfer` belongs to its job now. */
static enum status start(struct service *s, const struct caller *caller, struct transfer *transfer,
                         struct work_started *out, bool *at_once) {
  uint64_t key[2];
  keys_hash(caller, key);
  enum status status = repeated(s, transfer, key, out, &transfer->problem);
  if (status != STATUS_NOT_FOUND)
    return status;
  if (s->stopping)
    return problem_set(&transfer->problem, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
  status = check(s, caller, transfer);
  if (status)
    return status;
  if (transfer->params.dry_run) {
    impact(s, transfer, &out->impact);
    return STATUS_OK;
  }
  status = launch(s, caller, transfer, key, at_once);
  if (status)
    return status;
  out->job = job_keep(transfer->job);
  struct events_record event = {.type = EVENTS_TRANSFER_STARTED,
                                .subject = job_id(transfer->job),
                                .bytes = transfer->size,
                                .device = (uint8_t)(transfer->source_device + 1),
                                .other_device = (uint8_t)(transfer->target_device + 1)};
  events_set_text(&event, transfer->correlation);
  events_add(s->events, &event);
  return STATUS_OK;
}

enum status work_transfer_start(struct service *s, const struct caller *caller,
                                const struct work_transfer *params, struct work_started *out,
                                struct problem *problem) {
  struct transfer *transfer = calloc(1, sizeof *transfer);
  if (!transfer)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  transfer->service = s;
  transfer->params = *params;
  memcpy(transfer->correlation, caller->correlation, sizeof transfer->correlation);
  bool at_once = false;
  out->job = NULL;
  lock_take(&s->lock);
  enum status status = start(s, caller, transfer, out, &at_once);
  bool runs = transfer->job && !status;
  if (!runs)
    *problem = transfer->problem;
  lock_give(&s->lock);
  if (at_once)
    step_source(transfer);
  else if (!runs)
    free(transfer);
  return status;
}
