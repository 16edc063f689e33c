/*
 * transfer: plan-copy-commit. The target's place is taken and the source marked, the worker copies,
 * then the ledger switches (move) or gains an allocation (copy). Whatever happens on the way, the
 * source is as it was until that one step; a job reads failed only after what it had reserved is
 * given back.
 *
 *   target's place -> (trial: source's place) -> mover -> commit -> places that are no longer
 *   needed -> finished
 */
#include "service/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/choice.h"
#include "service/effects.h"
#include "service/job_work.h"
#include "service/quota.h"
#include "service/recorder.h"
#include "service/strain.h"
#include "service/waiting.h"

/* ---- the end ---- */

/* All that was reserved is back. */
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
  lock_take(&s->lock);
  space_owner_let_go(s, transfer->facts.owner);
  effects_end(s, transfer->job);
  lock_give(&s->lock);
  events_set_text(&event, transfer->correlation);
  events_add(s->events, &event);
  recorder_transfer(s, transfer->job, &event);
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
  record_let_go(transfer->service, transfer->alloc);
}

static bool is_copy(const struct transfer *transfer) {
  return transfer->alloc && !transfer->params.mode;
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
  if (is_copy(transfer))
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

/* Under the lock: a 507 about one of the two devices. */
static enum status refuse_space(struct transfer *transfer, const struct space_want *want,
                                enum status status, const char *reason) {
  const struct service *s = transfer->service;
  const struct state_device *device = &s->devices[want->device];
  struct problem *problem = &transfer->problem;
  char size[32], available[32];
  if (choice_configured(device, problem))
    return problem->status;
  units_format(want->size, size, sizeof size);
  units_format(state_available(s, device), available, sizeof available);
  problem_set(problem, status, "%s does not fit: %s has %s available", size, device->info->id,
              available);
  problem->has_space = true;
  state_space_problem(s, device, want->size, &problem->space);
  snprintf(problem->space.reason, sizeof problem->space.reason, "%s", reason);
  return status;
}

/* A place that was waited for is not to be had. */
static void no_place(struct transfer *transfer, const struct space_waiter *waiter) {
  struct service *s = transfer->service;
  const char *device = s->devices[waiter->want.device].info->id;
  bool space = status_http(waiter->status) == 507;
  lock_take(&s->lock);
  if (space)
    refuse_space(transfer, &waiter->want, waiter->status, "");
  else
    problem_set(&transfer->problem, waiter->status, "%s could not make room: %s", device,
                status_text(waiter->status));
  lock_give(&s->lock);
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
  bool agrees = task->verified || !transfer->exposed;
  result->verified_known = transfer->params.verify && !task->problem.status && agrees;
  result->verified = task->verified;
}

static void set_target(struct job_view *view, void *arg) {
  view->result.transfer.target_allocation = *(uint64_t *)arg;
}

void transfer_measure(struct service *s, uint32_t from, uint32_t to, uint64_t bytes,
                      uint64_t since_ns) {
  double seconds = (double)(clock_now() - since_ns) / 1e9;
  double rate = seconds > 0 ? (double)bytes / seconds : 0;
  double *best = &s->devices[from].rates[to];
  if (rate > *best)
    *best = rate;
}

/* Under the lock. */
static enum status commit_copy(struct transfer *transfer) {
  struct service *s = transfer->service;
  uint32_t made;
  if (record_is_orphan(s, &transfer->facts))
    return STATUS_CANCELLED;
  record_touch(s, transfer->alloc);
  transfer->facts.id = ledger_next_id(s->ledger);
  job_update(transfer->job, set_target, &transfer->facts.id);
  job_promise(transfer->job);
  enum status status = record_commit(s, &transfer->target.place, &transfer->facts, &made);
  if (status)
    job_update(transfer->job, set_target, &(uint64_t){0});
  return status;
}

/* Under the lock: the allocation lives at the target from here on; what remains to be given back is
 * its old place. */
static enum status commit_move(struct transfer *transfer) {
  struct service *s = transfer->service;
  struct space old;
  job_promise(transfer->job);
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
  transfer_measure(s, transfer->source_device, transfer->target_device, transfer->size,
                   transfer->started_ns);
  enum status status = !transfer->alloc    ? STATUS_OK
                       : is_copy(transfer) ? commit_copy(transfer)
                                           : commit_move(transfer);
  bool copied = !status && is_copy(transfer);
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

/* Who has the source attached may write between two readings of it: that they differ then says
 * nothing about the copy. */
static void start_watching(struct transfer *transfer) {
  if (!transfer->alloc)
    return;
  const struct state_alloc *alloc = state_alloc(transfer->service, transfer->alloc);
  transfer->exposed = alloc->writers;
  transfer->writers_met = alloc->writers_met;
}

static void stop_watching(struct transfer *transfer) {
  struct service *s = transfer->service;
  LOCK_SCOPE(&s->lock);
  if (transfer->alloc && state_alloc(s, transfer->alloc)->writers_met != transfer->writers_met)
    transfer->exposed = true;
}

static void progress(struct mover_task *task, uint64_t bytes_done) {
  struct transfer *transfer = (struct transfer *)((char *)task - offsetof(struct transfer, task));
  job_progress(transfer->job, bytes_done);
}

static void copied(struct mover_task *task) {
  struct transfer *transfer = (struct transfer *)((char *)task - offsetof(struct transfer, task));
  stop_watching(transfer);
  job_update(transfer->job, set_result, transfer);
  transfer->problem = task->problem;
  if (!task->problem.status && transfer->params.mode && transfer->params.verify && !task->verified)
    problem_set(&transfer->problem, STATUS_INTERNAL_ERROR,
                "the target does not hold what was read; nothing was moved");
  if (transfer->problem.status)
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
  start_watching(transfer);
  transfer->segments[0] = record_mover_segment(s, from.segment);
  transfer->segments[1] = record_mover_segment(s, to->segment);
  transfer->move = (struct mover_move){.from = 0,
                                       .to = 1,
                                       .from_offset = from.offset + transfer->offset,
                                       .to_offset = to->offset,
                                       .size = transfer->size};
  lock_give(&s->lock);
  transfer->task = (struct mover_task){.action = MOVER_TRANSFER,
                                       .segments = transfer->segments,
                                       .segment_count = 2,
                                       .moves = &transfer->move,
                                       .move_count = 1,
                                       .verify = transfer->params.verify,
                                       .progress = progress,
                                       .done = copied};
  transfer->started_ns = clock_now();
  job_submit(transfer->job, &transfer->task);
}

/* ---- places ---- */

static void origin_ready(struct space_waiter *waiter) {
  struct transfer *transfer =
      (struct transfer *)((char *)waiter - offsetof(struct transfer, origin));
  if (waiter->status)
    no_place(transfer, waiter);
  else
    step_copy(transfer);
}

void transfer_go(struct transfer *transfer) {
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
    no_place(transfer, waiter);
  else
    transfer_go(transfer);
}

enum status transfer_begin(struct transfer *transfer, bool *placed) {
  struct service *s = transfer->service;
  const struct state_device *device = &s->devices[transfer->target_device];
  struct space_want want = {.device = transfer->target_device,
                            .owner = transfer->facts.owner,
                            .size = transfer->size,
                            .alignment = transfer->facts.alignment,
                            .dedicated = transfer->facts.flags != 0};
  char reason[16] = "";
  if (strain_keeps_out(s, want.device, transfer->params.priority)) {
    strain_met(s, want.device);
    return strain_refuse(s, want.device, want.size, &transfer->problem);
  }
  if (is_copy(transfer) &&
      quota_charge(s, transfer->facts.owner, transfer->size, device, &transfer->problem))
    return transfer->problem.status;
  transfer->target.want = want;
  transfer->target.ready = target_ready;
  /* Those who wait for memory there come first. */
  bool held = waiting_held(s, transfer->params.priority) >> want.device & 1;
  enum status status = held ? STATUS_INSUFFICIENT_MEMORY : space_take(s, &transfer->target, reason);
  if (status && status != STATUS_PENDING) {
    if (is_copy(transfer))
      quota_uncharge(s, transfer->facts.owner, transfer->size);
    return refuse_space(transfer, &want, status, reason);
  }
  space_owner_hold(s, transfer->facts.owner);
  if (is_copy(transfer))
    state_alloc(s, transfer->alloc)->busy++;
  else if (transfer->alloc)
    state_alloc(s, transfer->alloc)->moving = 1;
  effects_begin(s, transfer->job, &(struct effects_of){.target = want.device, .bytes = want.size});
  *placed = status == STATUS_OK;
  return STATUS_OK;
}
