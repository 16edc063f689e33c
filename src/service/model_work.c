/*
 * model_work: begin, places, giving back, end. The bytes in between are model_fill.c's, the records
 * model_commit.c's.
 */
#include "service/model_work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/model_estimate.h"
#include "service/model_fill.h"
#include "service/model_load.h"
#include "service/model_move.h"
#include "service/model_record.h"
#include "service/model_table.h"
#include "service/quota.h"
#include "service/record.h"
#include "service/strain.h"
#include "service/waiting.h"

#define WORK_LOOK_NS (50 * CLOCK_MS) /* between two looks at a device that is strained */

/* ---- begin ---- */

static void set_model(struct job_view *view, void *arg) {
  view->result.model.model = *(const uint64_t *)arg;
}

void model_work_tell(struct job *job, uint64_t model) { job_update(job, set_model, &model); }

/* The work holds its weights from here on. */
static void take(struct model_work *work, struct job *job, const struct caller *caller,
                 struct models_weights *weights) {
  work->job = job;
  work->caller = *caller;
  work->weights = weights;
  work->started_ns = clock_now();
  if (!weights)
    return;
  weights->work = work;
  space_owner_hold(work->service, weights->owner);
}

struct model_work *model_work_begin(struct service *s, const struct model_work_params *params) {
  struct models_model *model = models_at(s, params->index);
  struct model_work *work = calloc(1, sizeof *work);
  struct job_params make = {.kind = params->kind,
                            .caller = params->caller,
                            .id = params->listed ? ledger_next_id(s->ledger) : 0,
                            .bytes_total = model->facts.size,
                            .cancellable = true};
  if (params->key) {
    memcpy(make.record.key, params->key->hash, sizeof make.record.key);
    make.record.key_args = params->key->args;
  }
  struct job *job = params->job;
  if (!job && work)
    job = job_make(s, &make);
  if (!job || !work) {
    free(work);
    return NULL;
  }
  work->service = s;
  work->model = model->id;
  take(work, job, params->caller, model->weights);
  model_work_tell(job, work->model);
  model->work = work;
  model->leaving = params->kind != JOB_LOAD;
  return work;
}

struct model_work *model_work_adopt(struct service *s, struct job *job, const struct caller *caller,
                                    struct models_weights *weights) {
  struct model_work *work = calloc(1, sizeof *work);
  if (!work)
    return NULL;
  work->service = s;
  take(work, job, caller, weights);
  return work;
}

struct job *model_work_job(const struct model_work *work) {
  return work->job;
}

void model_work_hop(struct model_work *work, void (*step)(struct task *task)) {
  work->hop.run = step;
  queue_post(work->service->decision, &work->hop);
}

/* ---- places ---- */

/* What the quota was asked for and is not yet an allocation's. */
static struct quota_sum charged(const struct model_work *work) {
  struct quota_sum sum = {.owner = work->weights->owner};
  for (unsigned copy = 0; copy < MODELS_COPIES; copy++)
    for (uint32_t i = 0; work->places[copy] && i < work->weights->part_count; i++)
      if (work->places[copy][i].node != MODEL_WORK_RECORDED) {
        sum.count++;
        sum.bytes += units_max(work->weights->parts[i].size, 1);
      }
  return sum;
}

/* The next place to be taken. False: all are. */
static bool next_place(struct model_work *work) {
  for (; work->copy < MODELS_COPIES; work->copy++, work->part = 0)
    if (work->takes[work->copy] && work->part < work->weights->part_count)
      return true;
  return false;
}

/* A copy in RAM that is not a must is left out. Under the lock. */
static bool do_without(struct model_work *work) {
  struct service *s = work->service;
  if (work->copy != MODELS_RAM || !work->optional)
    return false;
  struct quota_sum sum = charged(work);
  quota_uncharge_all(s, &sum);
  for (uint32_t i = 0; i < work->part; i++)
    space_give(s, &work->places[MODELS_RAM][i], NULL, NULL);
  free(work->places[MODELS_RAM]);
  work->places[MODELS_RAM] = NULL;
  work->takes[MODELS_RAM] = false;
  sum = charged(work);
  (void)quota_charge_all(s, &sum, &s->devices[0], &work->problem);
  work->copy = MODELS_CARD;
  work->part = 0;
  return true;
}

static void place(struct model_work *work);

/* Under the lock: a place is not to be had. True: the work goes on without it. */
static bool no_place(struct model_work *work, enum status status, const char *reason) {
  struct service *s = work->service;
  const struct state_device *device = &s->devices[work->devices[work->copy]];
  if (do_without(work))
    return true;
  problem_set(&work->problem, status, "%s has no room for %s: %s", device->info->id,
              work->weights->parts[work->part].name, status_text(status));
  if (status_http(status) != 507)
    return false;
  work->problem.has_space = true;
  state_space_problem(s, device, work->weights->parts[work->part].size, &work->problem.space);
  snprintf(work->problem.space.reason, sizeof work->problem.space.reason, "%s", reason);
  return false;
}

static void placed(struct space_waiter *waiter) {
  struct model_work *work = (struct model_work *)waiter;
  bool goes_on = true;
  if (!waiter->status) {
    work->places[work->copy][work->part++] = waiter->place;
  } else {
    LOCK_SCOPE(&work->service->lock);
    goes_on = no_place(work, waiter->status, "");
  }
  if (goes_on)
    place(work);
  else
    model_work_fail(work);
}

/* Takes places one after another; goes on in `placed` where the driver is asked. */
static void place(struct model_work *work) {
  struct service *s = work->service;
  char reason[16];
  enum status status = STATUS_OK;
  bool goes_on = true;
  lock_take(&s->lock);
  while (goes_on && !status && next_place(work)) {
    work->waiter.ready = placed;
    work->waiter.want = (struct space_want){
        .device = work->devices[work->copy],
        .owner = work->weights->owner,
        .size = units_max(work->weights->parts[work->part].size, 1),
        .alignment = MODEL_WORK_ALIGNMENT,
        .pad = models_pad_on(s, &work->weights->parts[work->part], work->devices[work->copy]),
        .dedicated = true,
        .open = true};
    status = space_take(s, &work->waiter, reason);
    if (!status)
      work->places[work->copy][work->part++] = work->waiter.place;
    else if (status != STATUS_PENDING && (goes_on = no_place(work, status, reason)))
      status = STATUS_OK;
  }
  lock_give(&s->lock);
  if (status == STATUS_PENDING)
    return;
  if (goes_on)
    model_fill_start(work);
  else
    model_work_fail(work);
}

static uint32_t home_of(const struct model_work *work) {
  return work->devices[work->takes[MODELS_CARD] ? MODELS_CARD : MODELS_RAM];
}

/* Under the lock: room for what the steps need, and the quota's word. */
static enum status prepare(struct model_work *work) {
  struct service *s = work->service;
  uint32_t n = work->weights->part_count;
  work->segments = calloc((size_t)n * 2, sizeof *work->segments);
  work->moves = calloc(n, sizeof *work->moves);
  work->files = calloc(n, sizeof *work->files);
  work->sums = calloc(n, sizeof *work->sums);
  bool room = work->segments && work->moves && work->files && work->sums;
  for (unsigned copy = 0; room && copy < MODELS_COPIES; copy++)
    if (work->takes[copy])
      room = (work->places[copy] = calloc(n, sizeof **work->places)) != NULL;
  const struct state_device *device = &s->devices[home_of(work)];
  struct quota_sum sum = charged(work);
  enum status status = STATUS_OK;
  if (!room)
    status = problem_set(&work->problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  else if (work->moving)
    quota_adopt_all(s, &sum); /* what goes is as much */
  else
    status = quota_charge_all(s, &sum, device, &work->problem);
  if (!status)
    return STATUS_OK;
  for (unsigned copy = 0; copy < MODELS_COPIES; copy++) {
    free(work->places[copy]);
    work->places[copy] = NULL;
  }
  return status;
}

/* Under the lock: a strained device lets nothing be loaded that can wait, nor RAM be copied to. */
static bool waits_for_calm(struct model_work *work) {
  const struct service *s = work->service;
  int priority = work->params.priority;
  if (work->transfers || models_at(s, idmap_find(&s->models->ids, work->model))->leaving)
    return false;
  if (strain_keeps_out(s, home_of(work), priority)) {
    memset(work->takes, 0, sizeof work->takes);
    return true;
  }
  if (work->takes[MODELS_CARD] && strain_keeps_out(s, work->devices[MODELS_RAM], priority))
    work->takes[MODELS_RAM] = false;
  return false;
}

void model_work_make(struct model_work *work) {
  struct service *s = work->service;
  lock_take(&s->lock);
  bool waits = waits_for_calm(work);
  enum status status = waits ? STATUS_OK : prepare(work);
  if (!waits)
    model_estimate_begin(work);
  lock_give(&s->lock);
  work->copy = work->part = 0;
  if (waits) {
    work->hop.run = model_load_plan;
    queue_post_at(s->decision, &work->hop, clock_now() + WORK_LOOK_NS);
    return;
  }
  if (status)
    model_work_fail(work);
  else
    place(work);
}

/* ---- back ---- */

static void given(void *arg) {
  struct model_work *work = arg;
  lock_take(&work->service->lock);
  bool last = !--work->going;
  lock_give(&work->service->lock);
  if (last)
    model_work_end(work);
}

/* Under the lock: the places of copies that will not be. */
static void give_places(struct model_work *work) {
  struct service *s = work->service;
  uint32_t parts = work->weights ? work->weights->part_count : 0;
  if (parts) {
    struct quota_sum sum = charged(work);
    quota_uncharge_all(s, &sum);
  }
  for (unsigned copy = 0; copy < MODELS_COPIES; copy++)
    for (uint32_t i = 0; work->places[copy] && i < parts; i++)
      if (work->places[copy][i].segment && space_give(s, &work->places[copy][i], given, work))
        work->going++;
  if (work->table.segment && space_give(s, &work->table, given, work))
    work->going++;
}

void model_work_fail(struct model_work *work) {
  lock_take(&work->service->lock);
  work->going = 1;
  give_places(work);
  lock_give(&work->service->lock);
  given(work);
}

/* ---- end ---- */

static void forget_weights(struct service *s, struct models_weights *weights) {
  uint32_t owner = weights->owner;
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry; entry = idmap_next(&s->models->ids, entry->id)) {
    struct models_model *model = models_at(s, entry->value);
    if (model->weights != weights)
      continue;
    models_weights_leave(model);
    if (model->slot)
      model_record_write(s, entry->value);
  }
  models_weights_forget(s, weights);
  state_owner(s, owner)->dead = true;
  space_owner_let_go(s, owner);
}

static enum events_type event_of(const struct service *s, const struct models_model *model,
                                 const struct model_work *work) {
  if (work->problem.status && !work->params.ahead)
    return EVENTS_MODEL_FAILED;
  enum model_state state = models_state(s, model);
  return state == MODEL_READY    ? EVENTS_MODEL_READY
         : state == MODEL_PARKED ? EVENTS_MODEL_PARKED
                                 : EVENTS_MODEL_UNLOADED;
}

/* Under the lock: weights are nobody's work any more. */
static void release(struct service *s, struct models_weights *weights) {
  weights->work = NULL;
  weights->lent = false;
  if (weights->has[MODELS_RAM] || weights->has[MODELS_CARD])
    space_owner_let_go(s, weights->owner);
  else
    forget_weights(s, weights);
}

/* Under the lock: the model is nobody's work any more. */
static void detach(struct model_work *work) {
  struct service *s = work->service;
  uint32_t index = idmap_find(&s->models->ids, work->model);
  struct models_model *model = models_at(s, index);
  struct models_weights *weights = model->weights;
  if (!work->moving && !model->leaving && !work->params.ahead) {
    model->error = work->problem;
    if (work->problem.status)
      model->key = (struct models_key){.args = 0};
  }
  model->work = NULL;
  if (weights && work->weights == weights)
    release(s, weights);
  if (work->origin)
    release(s, work->origin);
  if (work->moving)
    model_move_tell(work);
  else if (!work->params.dry_run && !work->drains)
    models_event(s, index, event_of(s, model, work), job_correlation(work->job));
  bool none = model->facts.format == CARD_FORMATS || (work->transfers && work->problem.status);
  if (work->fresh && none) {
    model_record_drop(s, index);
    models_remove(s, index);
  }
  waiting_kick(s);
}

static void set_gone(struct job_view *view, void *arg) {
  view->result.model = *(const struct job_model *)arg;
}

static void note(struct model_work *work) {
  struct models *models = work->service->models;
  struct job_view view;
  job_look(work->job, &view);
  models->last_kind = view.kind;
  models->last_state = work->problem.status == STATUS_OK          ? JOB_COMPLETED
                       : work->problem.status == STATUS_CANCELLED ? JOB_CANCELLED
                                                                  : JOB_FAILED;
  models->last_model = work->model;
  models->last_at = clock_real();
}

/* What copies were made with. */
static void drop_tools(struct model_work *work) {
  for (uint32_t i = 0; i < work->opened_count; i++)
    share_close(&work->opened[i].share);
  for (unsigned copy = 0; copy < MODELS_COPIES; copy++)
    free(work->places[copy]);
  free(work->opened);
  free(work->segments);
  free(work->moves);
  free(work->files);
  free(work->sums);
}

void model_work_again(struct model_work *work) {
  drop_tools(work);
  memset(work->places, 0, sizeof work->places);
  memset(work->takes, 0, sizeof work->takes);
  work->opened = NULL;
  work->opened_count = 0;
  work->segments = NULL;
  work->moves = NULL;
  work->files = NULL;
  work->sums = NULL;
  model_work_hop(work, model_load_plan);
}

void model_work_end(struct model_work *work) {
  struct service *s = work->service;
  work->gone.model = work->model;
  if (!work->params.dry_run && !work->transfers)
    job_update(work->job, set_gone, &work->gone);
  lock_take(&s->lock);
  if (!work->transfers && !work->drains && !work->params.ahead)
    note(work);
  detach(work);
  lock_give(&s->lock);
  if (work->transfers)
    model_move_ended(work);
  job_finish(work->job, &work->problem);
  drop_tools(work);
  free(work->former);
  free(work->image);
  free(work);
}
