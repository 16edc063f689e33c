/*
 * model_unload: weights do not change, so what has a copy in RAM is parked by giving the card's
 * copy back, and nothing is ever written to disk.
 */
#include "service/model_unload.h"

#include <stdio.h>
#include <string.h>

#include "service/model_give.h"
#include "service/model_record.h"

/* ---- checks ---- */

static enum status check(const struct service *s, const struct caller *caller,
                         const struct models_model *model, const struct model_unload *params,
                         struct problem *problem) {
  const struct models_weights *weights = model->weights;
  if (caller->role != CALLER_ADMIN && caller->domain != model->domain)
    return problem_set(problem, STATUS_FORBIDDEN, "%.100s was loaded by another domain",
                       model->name);
  if (model->work || (weights && weights->work))
    return problem_set(problem, STATUS_MODEL_BUSY, "%.100s is being worked on", model->name);
  if (!weights)
    return STATUS_OK;
  bool last = weights->references == 1 || params->to_ram;
  if (last && !params->force && models_attachments(s, weights))
    return problem_set(problem, STATUS_MODEL_BUSY,
                       "%.100s is attached by somebody; force takes it all the same", model->name);
  /* Another name keeps the bytes where they are; into RAM they go for all of them. */
  if (!params->force && (last ? models_pinned(s, weights) : model->pinned))
    return problem_set(problem, STATUS_MODEL_BUSY, "%.100s is pinned; force takes it all the same",
                       model->name);
  if (params->to_ram && models_home_is_host(s, weights))
    return problem_set(problem, STATUS_CONFLICT,
                       "%.100s is on a device of host memory and cannot be parked, only unloaded",
                       model->name);
  return STATUS_OK;
}

/* Nothing is left to be done for it. */
static bool is_there(const struct models_model *model, bool to_ram) {
  const struct models_weights *weights = model->weights;
  return !weights || (to_ram && !weights->has[MODELS_CARD]);
}

/* ---- the work ---- */

/* Under the lock: the host device with most room. */
static uint32_t ram_device(const struct service *s) {
  uint32_t best = VIEW_DEVICES;
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    if (device->info->host_memory && !device->gone &&
        (best == VIEW_DEVICES ||
         state_available(s, device) > state_available(s, &s->devices[best])))
      best = i;
  }
  return best;
}

/* Under the lock: what comes and what goes. False: there is no host memory to park in. */
static bool aim(struct model_work *work, enum policy_act act) {
  const struct service *s = work->service;
  const struct models_weights *weights = work->weights;
  work->params.verify = true;
  work->gives[MODELS_CARD] = act != POLICY_DRAIN && weights->has[MODELS_CARD];
  work->gives[MODELS_RAM] = act != POLICY_PARK && weights->has[MODELS_RAM];
  if (act != POLICY_PARK || weights->has[MODELS_RAM])
    return true;
  work->takes[MODELS_RAM] = true;
  work->devices[MODELS_RAM] = ram_device(s);
  return work->devices[MODELS_RAM] != VIEW_DEVICES;
}

static void go(struct task *task) {
  struct model_work *work = model_work_of_hop(task);
  if (work->problem.status) {
    model_work_fail(work);
    return;
  }
  job_running(work->job);
  if (work->takes[MODELS_RAM])
    model_work_make(work);
  else if (work->gives[MODELS_CARD] || work->gives[MODELS_RAM])
    model_give(work);
  else
    model_work_end(work);
}

/* Under the lock: another name keeps the weights; this one lets go. */
static void leave(struct model_work *work, struct models_model *model) {
  struct service *s = work->service;
  struct models_weights *weights = work->weights;
  weights->references--;
  weights->work = NULL;
  space_owner_let_go(s, weights->owner);
  models_weights_leave(model);
  work->weights = NULL;
  model_record_write(s, idmap_find(&s->models->ids, model->id));
}

static struct model_work *begin(struct service *s, const struct caller *caller, uint32_t index,
                                bool listed) {
  struct model_work_params params = {JOB_UNLOAD, caller, index, listed, NULL, NULL};
  return model_work_begin(s, &params);
}

/* Under the lock: the model stays ready, and is attached meanwhile. */
static void drain(struct model_work *work, struct models_model *model) {
  model->work = NULL;
  model->leaving = false;
  work->weights->lent = true;
  work->drains = true;
}

struct job *model_unload_victim(struct service *s, const struct caller *caller,
                                struct models_weights *weights, enum policy_act act) {
  uint32_t index = models_first_of(s, weights);
  bool idle = index && !weights->work && !models_at(s, index)->work;
  struct model_work *work = idle ? begin(s, caller, index, false) : NULL;
  if (!work)
    return NULL;
  if (act == POLICY_DRAIN)
    drain(work, models_at(s, index));
  else
    policy_evicted(&s->models->clocks[weights->home], &weights->credit);
  if (!aim(work, act))
    problem_set(&work->problem, STATUS_INSUFFICIENT_MEMORY, "there is no host memory to park in");
  struct job *job = job_keep(work->job);
  model_work_hop(work, go);
  return job;
}

enum model_residency model_unload_to(enum policy_act act) {
  static const enum model_residency places[] = {[POLICY_DRAIN] = MODEL_ON_DEVICE,
                                                [POLICY_PARK] = MODEL_IN_RAM,
                                                [POLICY_DROP] = MODEL_ON_DISK};
  return places[act];
}

static enum status start(struct service *s, const struct caller *caller,
                         const struct model_unload *params, struct model_started *out,
                         struct problem *problem) {
  uint32_t index = models_find(s, params->model);
  if (!index)
    return problem_set(problem, STATUS_MODEL_NOT_FOUND, "no model %.60s", params->model);
  struct models_model *model = models_at(s, index);
  enum status status = check(s, caller, model, params, problem);
  if (status)
    return status;
  models_view(s, index, &out->model);
  if (is_there(model, params->to_ram))
    return STATUS_OK;
  struct model_work *work = begin(s, caller, index, true);
  if (!work)
    return problem_set(problem, STATUS_RATE_LIMITED, "too many jobs are under way");
  if (!params->to_ram && work->weights->references > 1)
    leave(work, model);
  else if (!aim(work, params->to_ram ? POLICY_PARK : POLICY_DROP))
    problem_set(&work->problem, STATUS_INSUFFICIENT_MEMORY, "there is no host memory to park in");
  out->job = job_keep(work->job);
  models_view(s, index, &out->model);
  model_work_hop(work, go);
  return STATUS_OK;
}

enum status model_unload_start(struct service *s, const struct caller *caller,
                               const struct model_unload *params, struct model_started *out,
                               struct problem *problem) {
  out->job = NULL;
  lock_take(&s->lock);
  enum status status = start(s, caller, params, out, problem);
  lock_give(&s->lock);
  if (status)
    snprintf(problem->subject, sizeof problem->subject, "%.60s", params->model);
  return status;
}
