/*
 * work_defragment: gives whole segments back by moving blocks together. Device by device, owner by
 * owner (slabs are per owner): snapshot, plan (memory/defrag), then in batches reserve – copy –
 * commit, until nothing helps any more or the time is up. A plan has closed its victims, holds
 * their blocks and has taken the places that it tells (snapshot.h).
 *
 * Three batches are under way: while the mover copies one, the one before is committed and the next
 * is reserved. On a card there are more, so that it maps the segments of some while it copies
 * others. They may end in any order, for no move of a plan waits for another: what is taken was
 * free before, what is left stays closed. The first ones are small, and of a plan only what they
 * take is made before them: the mover is not to wait for the whole. The victims go back when all of
 * a plan was moved.
 *
 * All of it but the copies is the decision thread's: two would take turns at the state lock, and
 * bring each other's records from core to core. The mover comes first, what it did is committed
 * when it has enough to do.
 *
 * A card's driver takes half a millisecond to take a segment back. So on cards the job ends with
 * its last move, as a free's answer does: who needs the bytes that are on their way waits for them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "service/choice.h"
#include "service/defragment_batch.h"
#include "service/defragment_figures.h"
#include "service/job_work.h"
#include "service/record.h"
#include "service/snapshot.h"
#include "service/work.h"

#define DEFRAGMENT_FIRST 64              /* of the first; each next has twice as many */
#define DEFRAGMENT_BATCHES 32            /* on a card; one takes it a third of a millisecond */
#define DEFRAGMENT_BATCHES_HOST 3        /* one is reserved, one copied, one committed */
#define DEFRAGMENT_QUICK_NS CLOCK_SECOND /* contract 8 */

struct batch {
  struct task ended; /* first: the decision thread's */
  struct defragment_batch moves;
  struct defragment *work;
  bool under_way; /* the decision thread's */
};

struct defragment {
  struct task step; /* first: the decision thread's, at the beginning and the end */
  struct batch batches[DEFRAGMENT_BATCHES];
  struct defragment_batch_run run;
  struct work_defragment params;
  struct job_defrag result;
  bool admin;
  uint32_t domain; /* the caller's number: others' blocks are moved for an admin only */
  uint32_t devices[VIEW_DEVICES], at; /* devices[at] is worked on */
  uint64_t owner;                     /* the one that is worked on, 0: before the first */
  struct defrag_planner *planner;
  const struct defrag_plan *plan;  /* so far: the rest is planned beside the copies */
  uint32_t next_move, batch_moves; /* at most so many in the next batch */
  uint32_t batch_count, under_way; /* batches that are used; of these */
  uint64_t deadline;
  uint64_t moved_ns; /* when the last one was */
  bool ended;        /* nothing more will be moved; under the state lock */
  bool costly;       /* all devices: the job ends before its segments are back */
  struct problem problem;
};

/* ---- the end ---- */

static void set_result(struct job_view *view, void *arg) {
  view->result.defrag = *(struct job_defrag *)arg;
}

static void forget_plan(struct defragment *work) {
  defrag_planner_free(work->planner);
  work->planner = NULL;
  work->plan = NULL;
  work->next_move = 0;
  defragment_batch_run_done(&work->run);
}

static void work_free(struct defragment *work) {
  forget_plan(work);
  free(work);
}

static void answer(struct defragment *work) {
  struct service *s = work->run.service;
  lock_take(&s->lock);
  defragment_figures_after(s, work->devices, &work->result);
  lock_give(&s->lock);
  job_update(work->run.job, set_result, &work->result);
  job_finish(work->run.job, &work->problem);
}

/* All is back. */
static void leave(struct defragment *work) {
  log_info("service", "defragmented: %u blocks; %u segments were back %.1f ms after the last",
           work->result.total.allocations_moved, work->result.total.segments_released,
           (double)(clock_now() - work->moved_ns) / (double)CLOCK_MS);
  work_free(work);
}

static void finish(struct defragment *work) {
  answer(work);
  leave(work);
}

/* A segment is back with the driver. */
static void released(void *arg) {
  struct defragment *work = arg;
  struct service *s = work->run.service;
  lock_take(&s->lock);
  bool last = !--work->run.releasing && work->ended;
  lock_give(&s->lock);
  if (last && work->costly)
    leave(work);
  else if (last)
    queue_post(s->decision, &work->step);
}

static void end(struct defragment *work) {
  struct service *s = work->run.service;
  work->moved_ns = clock_now();
  if (work->costly)
    answer(work);
  lock_take(&s->lock);
  work->ended = true;
  bool waits = work->run.releasing > 0;
  lock_give(&s->lock);
  if (!waits)
    (work->costly ? leave : finish)(work);
}

/* ---- reserve, copy, commit ---- */

/* Another victim where those before are used up. False: none. */
static bool plan_on(struct defragment *work) {
  if (!work->planner)
    return false;
  work->plan = defrag_planner_go_on(work->planner, work->next_move + 1);
  return work->next_move < work->plan->move_count;
}

/* Planned, and not to be moved any more. */
static void give_planned(struct defragment *work) {
  uint32_t left = work->plan ? work->plan->move_count - work->next_move : 0;
  if (left)
    defragment_batch_forgo(&work->run, &work->plan->moves[work->next_move], left);
  work->next_move += left;
}

/* A slab that is empty goes back only while it is closed, else its owner may keep it. What was
 * needed to plan is let go of when nobody waits any more, or before the next plan. */
static void leave_plan(struct defragment *work) {
  give_planned(work);
  for (uint32_t i = 0; work->plan && i < work->plan->victim_count; i++)
    if (!defragment_batch_give(&work->run, work->plan->victims[i]))
      snapshot_open(&work->run.snapshot, work->plan->victims[i]);
  work->plan = NULL;
}

static void copied(struct mover_task *task) {
  struct batch *batch = (struct batch *)((char *)task - offsetof(struct batch, moves.task));
  queue_post(batch->work->run.service->decision, &batch->ended);
}

static void commit(struct batch *batch) {
  struct defragment *work = batch->work;
  uint64_t moved = 0;
  defragment_batch_commit(&batch->moves, &work->run);
  for (uint32_t i = 0; i < work->result.device_count; i++)
    moved += work->result.devices[i].moved_bytes;
  job_progress(work->run.job, moved);
}

/* Reserves the next batch of the plan and hands it to the mover. False: all of it is under way. */
static bool start_batch(struct batch *batch) {
  struct defragment *work = batch->work;
  struct defragment_batch *moves = &batch->moves;
  defragment_batch_begin(moves, &work->run, (uint32_t)(batch - work->batches), work->next_move);
  while (moves->move_count < work->batch_moves && plan_on(work)) {
    uint32_t count = (uint32_t)units_min(work->plan->move_count - work->next_move,
                                         work->batch_moves - moves->move_count);
    defragment_batch_reserve(moves, &work->run, &work->plan->moves[work->next_move], count);
    work->next_move += count;
  }
  if (!moves->move_count)
    return false;
  batch->under_way = true;
  work->under_way++;
  work->batch_moves = (uint32_t)units_min(DEFRAGMENT_BATCH_MOVES, 2 * (uint64_t)work->batch_moves);
  defragment_batch_submit(moves, &work->run, copied);
  return true;
}

/* There is one that is not under way; the first of them was in use before. */
static struct batch *next_batch(struct defragment *work) {
  struct batch *batch = work->batches;
  while (batch->under_way)
    batch++;
  return batch;
}

static void start_batches(struct defragment *work) {
  while (work->under_way < work->batch_count)
    if (!start_batch(next_batch(work)))
      return;
}

/* ---- what to work on ---- */

static bool may_move(const struct defragment *work, const struct state_owner *owner) {
  return owner->slabs[work->devices[work->at]] &&
         (work->admin || work->run.service->domains[owner->domain].number == work->domain);
}

/* The owner after the current one, on the next device when there is none. False: all done. */
static bool next_owner(struct defragment *work) {
  struct service *s = work->run.service;
  LOCK_SCOPE(&s->lock);
  while (work->at < work->result.device_count) {
    const struct idmap_entry *entry = idmap_next(&s->owner_ids, work->owner);
    work->owner = entry ? entry->id : 0;
    if (!entry)
      work->at++;
    else if (may_move(work, state_owner(s, entry->value)))
      return true;
  }
  return false;
}

/* Begins a plan for the next owner that has something to gain: at least so many moves of it, or
 * all. None if there was no memory for it. */
static bool next_plan(struct defragment *work, uint32_t moves) {
  while (next_owner(work)) {
    forget_plan(work);
    uint32_t device = work->devices[work->at];
    bool card = work->run.service->devices[device].info->costly;
    work->batch_count = card ? DEFRAGMENT_BATCHES : DEFRAGMENT_BATCHES_HOST;
    work->run.row = &work->result.devices[work->at];
    work->run.snapshot = (struct snapshot){.service = work->run.service,
                                           .device = device,
                                           .owner = work->owner,
                                           .dry = work->params.dry_run};
    if (snapshot_plan(&work->run.snapshot, (enum defrag_strategy)work->params.strategy,
                      &work->planner))
      continue;
    if (!defragment_batch_run_init(&work->run, work->batch_count))
      continue;
    work->plan = defrag_planner_go_on(work->planner, moves);
    if (work->plan->move_count)
      return true;
  }
  return false;
}

static bool is_over(struct defragment *work) {
  if (job_cancelled(work->run.job) && !work->problem.status)
    problem_set(&work->problem, STATUS_CANCELLED, "cancelled; what was moved stays moved");
  return work->problem.status || clock_now() >= work->deadline;
}

static void go_on(struct defragment *work) {
  while (!is_over(work)) {
    start_batches(work);
    if (work->under_way)
      return;
    leave_plan(work);
    if (!next_plan(work, 1))
      break;
  }
  if (work->under_way)
    return;
  leave_plan(work);
  end(work);
}

static void batch_ended(struct task *task) {
  struct batch *batch = (struct batch *)task;
  struct defragment *work = batch->work;
  commit(batch);
  batch->under_way = false;
  work->under_way--;
  if (batch->moves.task.problem.status)
    work->problem = batch->moves.task.problem;
  go_on(work);
}

static void step(struct task *task) {
  struct defragment *work = (struct defragment *)task;
  (work->ended ? finish : go_on)(work);
}

/* ---- start ---- */

static enum status choose_devices(struct service *s, struct defragment *work,
                                  struct problem *problem) {
  uint32_t named;
  const struct work_defragment *params = &work->params;
  work->costly = true;
  if (choice_named(s, params->device, params->memory, &named, problem))
    return problem->status;
  for (uint32_t i = 0; i < s->device_count; i++) {
    if (!choice_has(s, named, params->memory, i))
      continue;
    work->devices[work->result.device_count++] = i;
    work->costly &= s->devices[i].info->costly;
  }
  defragment_figures_before(s, work->devices, &work->result);
  return STATUS_OK;
}

/* What a run would do, without doing it. */
static void dry_run(struct defragment *work, struct job_defrag *out) {
  struct service *s = work->run.service;
  while (next_plan(work, UINT32_MAX)) {
    struct job_defrag_device *row = &work->result.devices[work->at];
    row->moved_bytes += work->plan->moved_bytes;
    row->allocations_moved += work->plan->move_count;
    row->segments_released += work->plan->victim_count;
    row->released_bytes += work->plan->released_bytes;
  }
  lock_take(&s->lock);
  defragment_figures_foretell(s, work->devices, &work->result);
  lock_give(&s->lock);
  *out = work->result;
}

/* Under the lock. */
static enum status launch(struct service *s, const struct caller *caller, struct defragment *work,
                          struct problem *problem) {
  if (s->stopping)
    return problem_set(problem, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
  work->run.job = job_make(s, &(struct job_params){.kind = JOB_DEFRAGMENT,
                                                   .caller = caller,
                                                   .id = ledger_next_id(s->ledger),
                                                   .cancellable = true});
  if (!work->run.job)
    return problem_set(problem, STATUS_RATE_LIMITED, "too many jobs are under way");
  bool quick = work->params.strategy == DEFRAG_QUICK;
  uint64_t time = state_ns(work->params.max_time_seconds, CLOCK_SECOND);
  work->deadline = clock_now() + (quick ? units_min(time, DEFRAGMENT_QUICK_NS) : time);
  return STATUS_OK;
}

enum status work_defragment_start(struct service *s, const struct caller *caller,
                                  const struct work_defragment *params, struct work_started *out,
                                  struct problem *problem) {
  struct defragment *work = calloc(1, sizeof *work);
  if (!work)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  for (unsigned i = 0; i < DEFRAGMENT_BATCHES; i++) {
    work->batches[i].ended.run = batch_ended;
    work->batches[i].work = work;
  }
  work->run = (struct defragment_batch_run){.service = s, .released = released, .arg = work};
  work->params = *params;
  work->batch_moves = DEFRAGMENT_FIRST;
  work->admin = caller->role == CALLER_ADMIN;
  work->domain = caller->domain;
  work->step.run = step;
  out->job = NULL;
  lock_take(&s->lock);
  enum status status = choose_devices(s, work, problem);
  if (!status && !params->dry_run)
    status = launch(s, caller, work, problem);
  lock_give(&s->lock);
  if (status || params->dry_run) {
    if (!status)
      dry_run(work, &out->plan);
    work_free(work);
    return status;
  }
  out->job = job_keep(work->run.job);
  job_running(work->run.job);
  queue_post(s->decision, &work->step);
  return STATUS_OK;
}
