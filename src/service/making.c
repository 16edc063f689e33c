/*
 * making: a chain of steps, each started when the one before it is over, on whichever thread that
 * happens:
 *
 *   try -> (wait for memory) -> place -> commit pages -> zero -> record -> answer
 *
 * A failure on the way gives back what the steps before it took. The owner and his quota are held
 * from the start on, so that both stay true however long it takes.
 */
#include "service/making.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/effects.h"
#include "service/job_work.h"
#include "service/layers.h"
#include "service/model_optimize.h"
#include "service/quota.h"
#include "service/strain.h"

#define MAKING_ROOM_NS (60 * CLOCK_SECOND) /* for models to be parked: gigabytes may be copied */
#define MAKING_REFUSED_NS (20 * CLOCK_MS)  /* until a driver that had no more is asked again */

static struct choice choice_of(const struct making *making, uint32_t held) {
  return (struct choice){.params = &making->params,
                         .named = making->named,
                         .owner = making->facts.owner,
                         .held = held};
}

void making_answer(const struct service *s, uint32_t index, struct job_allocate *out) {
  state_view_alloc(s, index, &out->allocation);
  const struct state_device *device =
      &s->devices[state_segment(s, state_alloc(s, index)->segment)->device];
  out->available_bytes = state_available(s, device);
  out->utilization = units_percent(state_used(s, device), device->info->total_bytes);
}

/* ---- the end ---- */

static void set_result(struct job_view *view, void *arg) {
  view->result.allocate = *(struct job_allocate *)arg;
}

/* Under the lock: what the start took. */
static void release(struct making *making) {
  struct service *s = making->service;
  if (making->problem.status)
    quota_uncharge(s, making->facts.owner, making->params.size_bytes);
  space_owner_let_go(s, making->facts.owner);
}

/* Under the lock: the end of a chain that had to wait. */
static void leave(struct making *making) {
  release(making);
  keys_remove_pending(making->service, &making->pending);
  making->service->making--;
}

static void answer(struct making *making) {
  job_finish(making->job, &making->problem);
  if (making->room)
    job_give(making->room);
  free(making);
}

/* After the lock was taken and given again. */
static void place_is_back(void *arg) { answer(arg); }

/* Under the lock: no room was found when the device was to give the pages. */
static void tell_space(struct making *making) {
  struct problem *problem = &making->problem;
  if (problem->status != STATUS_INSUFFICIENT_MEMORY || problem->has_space)
    return;
  const struct state_device *device = &making->service->devices[making->waiter.want.device];
  problem->has_space = true;
  state_space_problem(making->service, device, making->params.size_bytes, &problem->space);
}

/* Its problem is set; the place goes back before anyone hears of it. */
static void give_place_back(struct making *making) {
  struct service *s = making->service;
  lock_take(&s->lock);
  bool waits = space_give(s, &making->waiter.place, place_is_back, making);
  tell_space(making);
  leave(making);
  waiting_kick(s);
  lock_give(&s->lock);
  if (!waits)
    answer(making);
}

static void fail(struct making *making, enum status status) {
  problem_set(&making->problem, status, "the memory could not be made ready: %s",
              status_text(status));
  give_place_back(making);
}

/* ---- the record ---- */

/* Under the lock: the allocation becomes visible. */
static enum status record(struct making *making, struct job_allocate *out) {
  struct service *s = making->service;
  struct choice choice = choice_of(making, 0);
  uint32_t index;
  if (record_is_orphan(s, &making->facts))
    return problem_set(&making->problem, STATUS_CANCELLED, "the process that it was for is gone");
  if (record_commit(s, &making->waiter.place, &making->facts, &index))
    return choice_refuse(s, &choice, "records", &making->problem);
  making_answer(s, index, out);
  return STATUS_OK;
}

static void step_record(struct making *making) {
  struct service *s = making->service;
  struct job_allocate made = {0};
  lock_take(&s->lock);
  enum status status = job_cancelled(making->job)
                           ? problem_set(&making->problem, STATUS_CANCELLED, "cancelled")
                           : record(making, &made);
  if (!status)
    leave(making);
  lock_give(&s->lock);
  if (status) {
    give_place_back(making);
    return;
  }
  job_update(making->job, set_result, &made);
  answer(making);
}

/* ---- the bytes ---- */

static void zeroed(struct mover_task *task) {
  struct making *making = (struct making *)((char *)task - offsetof(struct making, zeroing));
  making->problem = task->problem;
  if (task->problem.status)
    give_place_back(making);
  else
    step_record(making);
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
  layers_submit(s, &making->zeroing, 0);
}

static void pages_ready(struct device_call *call) {
  struct making *making = (struct making *)((char *)call - offsetof(struct making, pages));
  if (call->status)
    fail(making, call->status);
  else
    step_zero(making);
}

void making_go(struct making *making) {
  struct service *s = making->service;
  if (!making->params.commit) {
    step_zero(making);
    return;
  }
  const struct space *place = &making->waiter.place;
  lock_take(&s->lock);
  const struct state_segment *segment = state_segment(s, place->segment);
  struct device *device = s->devices[segment->device].device;
  making->pages = (struct device_call){.action = DEVICE_COMMIT,
                                       .offset = place->offset,
                                       .size = place->size,
                                       .share = segment->share,
                                       .done = pages_ready};
  lock_give(&s->lock);
  device_start(device, &making->pages);
}

/* ---- the place ---- */

/* Under the lock. OK: the place is taken. PENDING: `placed` goes on. Else the problem says why. */
static enum status attempt(struct making *making, uint32_t held, struct alloc_placement *told) {
  struct service *s = making->service;
  struct choice choice = choice_of(making, held);
  struct placement_verdict verdicts[VIEW_DEVICES];
  uint32_t fitting = choice_rank(s, &choice, verdicts);
  char reason[16] = "";
  if (told)
    choice_tell(s, &choice, verdicts, told);
  for (uint32_t i = 0; i < fitting; i++) {
    making->waiter.want = (struct space_want){.device = verdicts[i].index,
                                              .owner = making->facts.owner,
                                              .size = making->params.size_bytes,
                                              .alignment = making->params.alignment_bytes,
                                              .dedicated = making->params.share != VIEW_SHARE_NONE};
    enum status status = space_take(s, &making->waiter, reason);
    if (status == STATUS_OK || status == STATUS_PENDING)
      return status;
  }
  return choice_refuse(s, &choice, reason, &making->problem);
}

/* Under the lock: pressure keeps it out. From here on the rules of strain hold until it is over. */
static bool meets_strain(const struct making *making) {
  struct service *s = making->service;
  struct choice choice = choice_of(making, 0);
  if (!choice_is_strained(s, &choice))
    return false;
  uint32_t devices = choice_devices(s, &choice);
  for (uint32_t i = 0; i < s->device_count; i++)
    if (devices >> i & 1 && strain_keeps_out(s, i, making->params.priority))
      strain_met(s, i);
  return true;
}

/* ---- waiting for memory ---- */

/* Models made the room that they could, and nobody said to wait for more. */
static bool room_was_made(const struct making *making) {
  struct job_view view;
  if (!making->room || making->params.wait_ms)
    return false;
  job_look(making->room, &view);
  return view.state >= JOB_COMPLETED;
}

/* Under the lock: for want of what a worker did not give. */
static void tell_broken(struct making *making) {
  struct job_view view;
  if (!making->room)
    return;
  job_look(making->room, &view);
  promise_blame(&view.result.optimize.broken, &making->problem);
}

static enum waiting_outcome attempt_again(struct waiting_entry *entry, uint32_t held,
                                          bool expired) {
  struct making *making = (struct making *)((char *)entry - offsetof(struct making, queued));
  struct service *s = making->service;
  enum status status;
  expired = expired || room_was_made(making);
  bool early = clock_now() < making->retry_at;
  making->problem.status = STATUS_OK;
  if (s->stopping)
    status = problem_set(&making->problem, STATUS_CANCELLED, "the daemon stops");
  else if (job_cancelled(making->job))
    status = problem_set(&making->problem, STATUS_CANCELLED, "nobody waits for it any more");
  else if (early && !expired)
    return WAITING_STAYS;
  else
    status = attempt(making, held, NULL);
  if (status == STATUS_PENDING)
    return WAITING_SERVED;
  if (status == STATUS_OK)
    return WAITING_LEAVES;
  if (!expired && status != STATUS_CANCELLED)
    return WAITING_STAYS;
  tell_broken(making);
  leave(making);
  return WAITING_LEAVES;
}

static void left_queue(struct waiting_entry *entry) {
  struct making *making = (struct making *)((char *)entry - offsetof(struct making, queued));
  if (making->problem.status)
    answer(making);
  else
    making_go(making);
}

/* Under the lock: the next device from `from` on that would do and has too little; VIEW_DEVICES:
 * there is none. */
static uint32_t next_short(const struct making *making, uint32_t from,
                           struct model_optimize_need *need) {
  const struct service *s = making->service;
  struct choice choice = choice_of(making, 0);
  uint32_t devices = choice_devices(s, &choice), i = from;
  for (; i < s->device_count; i++) {
    uint64_t available = state_available(s, &s->devices[i]);
    *need = (struct model_optimize_need){i, units_minus(making->params.size_bytes, available),
                                         making->params.priority};
    if (devices >> i & 1 && need->bytes)
      return i;
  }
  return VIEW_DEVICES;
}

/* Under the lock: idle models go from the device that would do, where there is one. */
static void ask_models(struct making *making) {
  struct service *s = making->service;
  struct model_optimize_need need;
  uint32_t i = next_short(making, 0, &need);
  for (; !making->room && i != VIEW_DEVICES; i = next_short(making, i + 1, &need))
    making->room = model_optimize_room(s, &making->caller, &need);
}

void making_foretell(const struct making *making, struct alloc_made *out) {
  struct model_optimize_need need;
  struct model_plan *plan = &out->eviction;
  uint32_t i = next_short(making, 0, &need);
  for (; i != VIEW_DEVICES; i = next_short(making, i + 1, &need)) {
    *plan = (struct model_plan){.count = 0};
    model_optimize_foretell(making->service, &need, plan);
    if (plan->covered)
      break;
  }
  if (i == VIEW_DEVICES)
    plan->count = 0;
  if (i == VIEW_DEVICES || !making->params.evict)
    return;
  out->placement.device_id = making->service->devices[i].info->id;
  out->placement.reason = plan->count ? "models would make room" : "workers would make room";
}

/* Under the lock: transfers without whose bytes it need not wait keep that. */
static void note_effects(struct making *making) {
  struct model_optimize_need need;
  uint32_t i = next_short(making, 0, &need);
  for (; i != VIEW_DEVICES; i = next_short(making, i + 1, &need))
    effects_space(making->service, i, need.bytes, EFFECTS_WAITED);
}

static enum status wait_for_memory(struct making *making) {
  struct choice choice = choice_of(making, 0);
  making->queued = (struct waiting_entry){.deadline = making->deadline,
                                          .priority = making->params.priority,
                                          .devices = choice_devices(making->service, &choice),
                                          .job = making->job,
                                          .attempt = attempt_again,
                                          .left = left_queue};
  if (waiting_add(making->service, &making->queued))
    return problem_set(&making->problem, STATUS_RATE_LIMITED, "too many requests wait for memory");
  return STATUS_PENDING;
}

/* Under the lock: the driver had less than it said, for others took it meanwhile. Who said that he
 * would wait does. */
static bool waits_on(struct making *making) {
  struct service *s = making->service;
  uint64_t now = clock_now();
  bool may = making->waiter.status == STATUS_INSUFFICIENT_MEMORY && making->params.wait_ms &&
             now < making->deadline && !s->stopping && !job_cancelled(making->job);
  making->retry_at = now + MAKING_REFUSED_NS;
  return may && wait_for_memory(making) == STATUS_PENDING;
}

/* The new segment is there, or not. */
static void placed(struct space_waiter *waiter) {
  struct making *making = (struct making *)waiter;
  struct service *s = making->service;
  struct choice choice = choice_of(making, 0);
  if (!waiter->status) {
    making_go(making);
    return;
  }
  lock_take(&s->lock);
  if (waits_on(making)) {
    lock_give(&s->lock);
    return;
  }
  if (waiter->status == STATUS_INSUFFICIENT_MEMORY)
    choice_refuse(s, &choice, "", &making->problem);
  else
    problem_set(&making->problem, waiter->status, "%s could not make room: %s",
                s->devices[waiter->want.device].info->id, status_text(waiter->status));
  leave(making);
  lock_give(&s->lock);
  answer(making);
}

/* ---- the start ---- */

enum status making_start(struct making *making, struct alloc_made *out, bool *placed_now) {
  struct service *s = making->service;
  struct choice choice = choice_of(making, 0);
  if (choice_is_too_large(s, &choice))
    return choice_refuse(s, &choice, "", &making->problem);
  const struct state_device *device = choice_subject(s, &choice);
  enum status status = quota_charge(s, making->facts.owner, making->params.size_bytes,
                                    device ? device : &s->devices[0], &making->problem);
  if (status)
    return status;
  space_owner_hold(s, making->facts.owner);
  making->waiter.ready = placed;
  making->deadline = clock_now() + state_ns(making->params.wait_ms, CLOCK_MS);
  status = attempt(making, waiting_held(s, making->params.priority), &out->placement);
  bool short_of = status == STATUS_INSUFFICIENT_MEMORY && !meets_strain(making);
  if (short_of && making->params.evict)
    ask_models(making);
  if (making->room)
    making->deadline = units_max(making->deadline, clock_now() + MAKING_ROOM_NS);
  if (short_of && (making->params.wait_ms || making->room))
    status = wait_for_memory(making);
  if (status == STATUS_PENDING && short_of)
    note_effects(making);
  bool at_once = status == STATUS_OK && !making->params.commit && !needs_zeroing(making);
  if (at_once) {
    status = record(making, &out->answer);
    if (status)
      space_give(s, &making->waiter.place, NULL, NULL);
  }
  if (at_once || (status && status != STATUS_PENDING)) {
    if (making->room)
      job_give(making->room);
    release(making);
    return status;
  }
  *placed_now = status == STATUS_OK;
  s->making++;
  making->problem.status = STATUS_OK;
  making->pending.key[0] = making->facts.key[0];
  making->pending.key[1] = making->facts.key[1];
  making->pending.args = making->facts.key_args;
  making->pending.job = making->job;
  keys_add_pending(s, &making->pending);
  return STATUS_PENDING;
}
