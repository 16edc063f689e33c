/*
 * work_defragment: gives whole segments back by moving blocks together. Device by device, owner by
 * owner (slabs are per owner): snapshot, plan (memory/defrag), then in batches reserve – copy –
 * commit, until nothing helps any more or the time is up. A block that was freed, attached or
 * pinned meanwhile is simply not moved; what is being moved cannot be.
 *
 * Three batches are under way: while the mover copies one, the one before is committed (on the
 * loop's thread, with the answer) and the next is reserved (on the decision thread). On a card
 * there are more, so that it maps the segments of some while it copies others. They may end in any
 * order, for no move of a plan waits for another: what is taken was free before, what is left stays
 * closed. The first ones are small, and of a plan only what they take is made before them: the
 * mover is not to wait for the whole.
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
#include "service/defragment_figures.h"
#include "service/job_work.h"
#include "service/record.h"
#include "service/snapshot.h"
#include "service/work.h"

#define DEFRAGMENT_BATCH 1000            /* moves a message: far below a line's cap of 4 MiB */
#define DEFRAGMENT_FIRST 125             /* of the first; each next has twice as many */
#define DEFRAGMENT_BATCHES 8             /* on a card; a batch takes it a millisecond */
#define DEFRAGMENT_BATCHES_HOST 3        /* one is reserved, one copied, one committed */
#define DEFRAGMENT_LOCKED 64             /* moves reserved or committed per holding of the lock */
#define DEFRAGMENT_QUICK_NS CLOCK_SECOND /* contract 8 */

struct reservation {
  uint32_t alloc; /* its index: what is moving cannot be freed */
  struct space to;
};

struct batch {
  struct task ended; /* first: the decision thread's */
  struct mover_task task;
  struct mover_segment *segments;
  struct mover_move *moves;
  struct reservation *reservations; /* what the moves are about */
  uint32_t segment_count, move_count;
  struct defragment *work;
  bool under_way; /* the decision thread's */
};

struct defragment {
  struct task step; /* first: the decision thread's, at the beginning and the end */
  struct batch batches[DEFRAGMENT_BATCHES];
  struct service *service;
  struct job *job;
  struct work_defragment params;
  struct job_defrag result;
  bool admin;
  uint32_t domain; /* the caller's number: others' blocks are moved for an admin only */
  uint32_t devices[VIEW_DEVICES], at; /* devices[at] is worked on */
  uint64_t owner;                     /* the one that is worked on, 0: before the first */
  struct snapshot snapshot;
  struct defrag_planner *planner;
  const struct defrag_plan *plan;               /* so far: the rest is planned beside the copies */
  uint32_t next_move, batch_moves, batch_count; /* at most so many in the next batch; batches */
  uint32_t closed;                              /* of the plan's victims */
  uint64_t deadline;
  uint64_t moved_ns;  /* when the last one was */
  uint32_t releasing; /* segments on their way back; under the state lock */
  bool ended;         /* nothing more will be moved; under the state lock */
  bool costly;        /* all devices: the job ends before its segments are back */
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
  work->next_move = work->closed = 0;
  snapshot_free(&work->snapshot);
}

static void work_free(struct defragment *work) {
  forget_plan(work);
  for (unsigned i = 0; i < DEFRAGMENT_BATCHES; i++) {
    free(work->batches[i].segments);
    free(work->batches[i].moves);
    free(work->batches[i].reservations);
  }
  free(work);
}

static void answer(struct defragment *work) {
  struct service *s = work->service;
  lock_take(&s->lock);
  for (uint32_t i = 0; i < work->result.device_count; i++)
    defragment_figures_after(s, work->devices[i], &work->result.devices[i]);
  defragment_figures_add_up(&work->result);
  work->result.total.fragmentation_after =
      defragment_figures_overall(s, work->devices, work->result.device_count);
  lock_give(&s->lock);
  job_update(work->job, set_result, &work->result);
  job_finish(work->job, &work->problem);
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
  struct service *s = work->service;
  lock_take(&s->lock);
  bool last = !--work->releasing && work->ended;
  lock_give(&s->lock);
  if (last && work->costly)
    leave(work);
  else if (last)
    queue_post(s->decision, &work->step);
}

static void end(struct defragment *work) {
  struct service *s = work->service;
  work->moved_ns = clock_now();
  if (work->costly)
    answer(work);
  lock_take(&s->lock);
  work->ended = true;
  bool waits = work->releasing > 0;
  lock_give(&s->lock);
  if (!waits)
    (work->costly ? leave : finish)(work);
}

/* ---- reserve, copy, commit ---- */

static void close_victim(struct defragment *work, uint32_t victim, bool closed) {
  struct service *s = work->service;
  uint32_t index = idmap_find(&s->segment_ids, work->snapshot.segment_ids[victim]);
  if (index)
    state_segment(s, index)->closed = closed;
}

/* Victims take no new blocks while they are emptied. */
static void close_victims(struct defragment *work) {
  LOCK_SCOPE(&work->service->lock);
  while (work->closed < work->plan->victim_count)
    close_victim(work, work->plan->victims[work->closed++], true);
}

static void open_victims(struct defragment *work) {
  LOCK_SCOPE(&work->service->lock);
  while (work->closed)
    close_victim(work, work->plan->victims[--work->closed], false);
}

/* Another victim where those before are used up. False: none. */
static bool plan_on(struct defragment *work) {
  if (!work->planner)
    return false;
  work->plan = defrag_planner_go_on(work->planner, work->next_move + 1);
  if (work->closed < work->plan->victim_count)
    close_victims(work);
  return work->next_move < work->plan->move_count;
}

/* The index of a segment in the batch's list. */
static uint32_t batch_segment(struct batch *batch, uint32_t index) {
  struct mover_segment segment = record_mover_segment(batch->work->service, index);
  for (uint32_t i = batch->segment_count; i-- > 0;)
    if (batch->segments[i].id == segment.id)
      return i;
  batch->segments[batch->segment_count] = segment;
  return batch->segment_count++;
}

/* Under the lock: takes the target of one planned move, if the block is still where the plan saw
 * it. */
static void reserve(struct batch *batch, const struct defrag_move *move) {
  struct defragment *work = batch->work;
  struct service *s = work->service;
  const struct defrag_block *block = &work->snapshot.blocks[move->block];
  uint32_t index = idmap_find(&s->alloc_ids, work->snapshot.block_ids[move->block]);
  uint32_t target = idmap_find(&s->segment_ids, work->snapshot.segment_ids[move->target_segment]);
  if (!index || !target || state_segment(s, target)->closed || !record_movable(s, index))
    return;
  struct space from = record_place(s, index);
  if (from.offset != block->offset || from.segment == target)
    return;
  struct space to;
  if (!space_take_at(s, target, move->target_offset, from.size, &to))
    return;
  state_alloc(s, index)->moving = 1;
  batch->moves[batch->move_count] = (struct mover_move){.from = batch_segment(batch, from.segment),
                                                        .to = batch_segment(batch, target),
                                                        .from_offset = from.offset,
                                                        .to_offset = to.offset,
                                                        .size = from.size};
  batch->reservations[batch->move_count++] = (struct reservation){.alloc = index, .to = to};
}

static void reserve_some(struct batch *batch) {
  struct defragment *work = batch->work;
  LOCK_SCOPE(&work->service->lock);
  for (unsigned i = 0; i < DEFRAGMENT_LOCKED && work->next_move < work->plan->move_count &&
                       batch->move_count < work->batch_moves;
       i++)
    reserve(batch, &work->plan->moves[work->next_move++]);
}

/* Under the lock: the switch of one block, or its reservation given back. */
static void commit_one(struct batch *batch, uint32_t i) {
  struct defragment *work = batch->work;
  struct service *s = work->service;
  struct job_defrag_device *row = &work->result.devices[work->at];
  uint32_t index = batch->reservations[i].alloc;
  struct space give = batch->reservations[i].to, old;
  bool moved = batch->moves[i].ok && !record_switch(s, index, &give, &old);
  state_alloc(s, index)->moving = 0;
  if (moved) {
    row->moved_bytes += old.size;
    row->allocations_moved++;
    state_alloc_event(s, index, EVENTS_ALLOCATION_MOVED, job_correlation(work->job));
    give = old;
  }
  uint64_t size = state_segment(s, give.segment)->size;
  if (space_give(s, &give, released, work)) {
    work->releasing++;
    row->segments_released++;
    row->released_bytes += size;
  }
  record_let_go(s, index);
}

/* Under the lock: some of them. */
static uint32_t commit_some(struct batch *batch, uint32_t from) {
  LOCK_SCOPE(&batch->work->service->lock);
  uint32_t i = from;
  for (; i < batch->move_count && i < from + DEFRAGMENT_LOCKED; i++)
    commit_one(batch, i);
  return i;
}

static void copied(struct mover_task *task) {
  struct batch *batch = (struct batch *)((char *)task - offsetof(struct batch, task));
  struct defragment *work = batch->work;
  uint64_t moved = 0;
  for (uint32_t i = 0; i < batch->move_count;)
    i = commit_some(batch, i);
  for (uint32_t i = 0; i < work->result.device_count; i++)
    moved += work->result.devices[i].moved_bytes;
  job_progress(work->job, moved);
  queue_post(work->service->decision, &batch->ended);
}

/* Reserves the next batch of the plan and hands it to the mover. False: nothing of it can be moved
 * any more. */
static bool start_batch(struct batch *batch) {
  struct defragment *work = batch->work;
  batch->move_count = batch->segment_count = 0;
  while (batch->move_count < work->batch_moves && plan_on(work))
    reserve_some(batch);
  if (!batch->move_count)
    return false;
  batch->task = (struct mover_task){.action = MOVER_DEFRAGMENT,
                                    .subject = job_id(work->job),
                                    .segments = batch->segments,
                                    .segment_count = batch->segment_count,
                                    .moves = batch->moves,
                                    .move_count = batch->move_count,
                                    .verify = true,
                                    .done = copied};
  memcpy(batch->task.correlation, job_correlation(work->job), sizeof batch->task.correlation);
  batch->under_way = true;
  work->batch_moves = (uint32_t)units_min(DEFRAGMENT_BATCH, 2 * (uint64_t)work->batch_moves);
  job_submit(work->job, &batch->task);
  return true;
}

/* Whether any is under way then. */
static bool start_batches(struct defragment *work) {
  bool under_way = false;
  for (unsigned i = 0; i < work->batch_count; i++)
    under_way |= work->batches[i].under_way || start_batch(&work->batches[i]);
  return under_way;
}

/* ---- what to work on ---- */

static bool may_move(const struct defragment *work, const struct state_owner *owner) {
  return owner->slabs[work->devices[work->at]] &&
         (work->admin || work->service->domains[owner->domain].number == work->domain);
}

/* The owner after the current one, on the next device when there is none. False: all done. */
static bool next_owner(struct defragment *work) {
  struct service *s = work->service;
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
    bool card = work->service->devices[device].info->costly;
    work->batch_count = card ? DEFRAGMENT_BATCHES : DEFRAGMENT_BATCHES_HOST;
    snapshot_make(work->service, device, work->owner, &work->snapshot);
    if (snapshot_planner(&work->snapshot, (enum defrag_strategy)work->params.strategy,
                         &work->planner))
      continue;
    work->plan = defrag_planner_go_on(work->planner, moves);
    if (work->plan->move_count)
      return true;
  }
  return false;
}

static bool is_over(struct defragment *work) {
  if (job_cancelled(work->job) && !work->problem.status)
    problem_set(&work->problem, STATUS_CANCELLED, "cancelled; what was moved stays moved");
  return work->problem.status || clock_now() >= work->deadline;
}

static bool is_under_way(const struct defragment *work) {
  unsigned i = 0;
  while (i < DEFRAGMENT_BATCHES && !work->batches[i].under_way)
    i++;
  return i < DEFRAGMENT_BATCHES;
}

static void go_on(struct defragment *work) {
  while (!is_over(work)) {
    if (start_batches(work))
      return;
    open_victims(work);
    if (!next_plan(work, 1))
      break;
  }
  if (is_under_way(work))
    return;
  open_victims(work);
  end(work);
}

static void batch_ended(struct task *task) {
  struct batch *batch = (struct batch *)task;
  struct defragment *work = batch->work;
  batch->under_way = false;
  if (batch->task.problem.status)
    work->problem = batch->task.problem;
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
    work->devices[work->result.device_count] = i;
    work->costly &= s->devices[i].info->costly;
    defragment_figures_before(s, i, &work->result.devices[work->result.device_count++]);
    work->result.total.fragmentation_before =
        defragment_figures_overall(s, work->devices, work->result.device_count);
  }
  return STATUS_OK;
}

/* Of the allocations that the plan moves: a run counts no more, whatever the granule adds. */
static uint64_t planned_bytes(struct defragment *work) {
  struct service *s = work->service;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < work->plan->move_count; i++) {
    LOCK_SCOPE(&s->lock);
    uint32_t index =
        idmap_find(&s->alloc_ids, work->snapshot.block_ids[work->plan->moves[i].block]);
    bytes += index ? record_place(s, index).size : 0;
  }
  return bytes;
}

/* What a run would do, without doing it. */
static void dry_run(struct defragment *work, struct job_defrag *out) {
  struct service *s = work->service;
  while (next_plan(work, UINT32_MAX)) {
    struct job_defrag_device *row = &work->result.devices[work->at];
    row->moved_bytes += planned_bytes(work);
    row->allocations_moved += work->plan->move_count;
    row->segments_released += work->plan->victim_count;
    row->released_bytes += work->plan->released_bytes;
  }
  lock_take(&s->lock);
  defragment_figures_foretell(s, work->devices, &work->result);
  lock_give(&s->lock);
  *out = work->result;
}

static bool allocate_batches(struct defragment *work) {
  bool all = true;
  for (unsigned i = 0; i < DEFRAGMENT_BATCHES; i++) {
    struct batch *batch = &work->batches[i];
    batch->work = work;
    batch->ended.run = batch_ended;
    batch->moves = calloc(DEFRAGMENT_BATCH, sizeof *batch->moves);
    batch->reservations = calloc(DEFRAGMENT_BATCH, sizeof *batch->reservations);
    batch->segments = calloc(2 * (size_t)DEFRAGMENT_BATCH, sizeof *batch->segments);
    all = all && batch->moves && batch->reservations && batch->segments;
  }
  return all;
}

/* Under the lock. */
static enum status launch(struct service *s, const struct caller *caller, struct defragment *work,
                          struct problem *problem) {
  if (s->stopping)
    return problem_set(problem, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
  work->job = job_make(s, &(struct job_params){.kind = JOB_DEFRAGMENT,
                                               .caller = caller,
                                               .id = ledger_next_id(s->ledger),
                                               .cancellable = true});
  if (!work->job)
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
  if (!work || !allocate_batches(work)) {
    if (work)
      work_free(work);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  }
  work->service = s;
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
  out->job = job_keep(work->job);
  job_running(work->job);
  queue_post(s->decision, &work->step);
  return STATUS_OK;
}
