/*
 * model_room: the snapshot for model/policy, and what comes of its plan. The needs are looked at
 * again after each victim, so the plan's first step is all that is ever carried out of it.
 */
#include "service/model_room.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/units.h"
#include "model/policy_preset.h"
#include "service/effects.h"
#include "service/model_load.h"
#include "service/model_optimize.h"
#include "service/model_unload.h"
#include "service/strain.h"
#include "service/worker_relief.h"

#define ROOM_ROUNDS 10000 /* victims of one load: as many as there can be models */
#define ROOM_FAILED                                                                                \
  2500 /* what a victim that could not go counts: four of them, and it is over                     \
        */

/* ---- the picture ---- */

/* Under the lock: the names of weights: the highest priority, whether one is pinned, the newest
 * use. */
static void ask_names(const struct service *s, const struct models_weights *weights,
                      struct policy_model *out) {
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  uint64_t used = 0;
  for (; entry; entry = idmap_next(&s->models->ids, entry->id)) {
    const struct models_model *model = models_at(s, entry->value);
    if (model->weights != weights)
      continue;
    used = units_max(used, model->last_used_at);
    out->pinned |= model->pinned;
    out->busy |= model->work != NULL;
    if (model->priority > out->priority)
      out->priority = model->priority;
    if (model->facts.load_ns)
      out->disk_seconds = (double)model->facts.load_ns / 1e9;
  }
  /* The wall clock's reading on the scale of clock_now(). */
  out->last_used_ns = units_minus(clock_now(), units_minus(clock_real(), used));
}

uint64_t model_room_bytes(const struct service *s, const struct models_weights *weights,
                          uint32_t device) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < weights->part_count; i++)
    for (unsigned copy = 0; copy < MODELS_COPIES; copy++) {
      uint32_t index = idmap_find(&s->alloc_ids, weights->parts[i].at[copy]);
      const struct state_segment *segment =
          index ? state_segment(s, state_alloc(s, index)->segment) : NULL;
      bytes += segment && segment->device == device ? segment->size : 0;
    }
  return bytes;
}

static void picture_of(const struct service *s, const struct models_weights *weights,
                       uint32_t device, struct policy_model *out) {
  double rate = 0;
  bool spare = s->devices[device].info->host_memory && weights->has[MODELS_CARD];
  *out = (struct policy_model){
      .bytes = model_room_bytes(s, weights, device),
      .resident_since_ns = weights->resident_since,
      .credit = weights->credit,
      .has_ram_copy = weights->has[MODELS_RAM] && !models_home_is_host(s, weights),
      .spare = spare,
      .served = weights->served,
      .busy = weights->work || (spare ? models_attachments_of(s, weights, MODELS_RAM)
                                      : models_attachments(s, weights))};
  for (uint32_t i = 0; i < s->device_count; i++)
    if (s->devices[i].info->host_memory && s->devices[i].rates[device] > rate)
      rate = s->devices[i].rates[device];
  if (rate > 0)
    out->ram_seconds = (double)out->bytes / rate;
  ask_names(s, weights, out);
}

enum status model_room_look(struct service *s, uint32_t device, struct model_room_picture *out) {
  uint32_t count = 0;
  for (struct models_weights *w = s->models->weights; w; w = w->next)
    count++;
  struct policy_model *models = calloc((size_t)count + 1, sizeof *models);
  struct models_weights **weights = calloc((size_t)count + 1, sizeof(void *));
  if (!models || !weights) {
    free(models);
    free(weights);
    return STATUS_INTERNAL_ERROR;
  }
  uint32_t n = 0;
  for (struct models_weights *w = s->models->weights; w; w = w->next) {
    picture_of(s, w, device, &models[n]);
    models[n].user = n;
    if (models[n].bytes)
      weights[n++] = w;
  }
  out->models = models;
  out->weights = weights;
  out->snapshot = (struct policy_snapshot){
      .models = models, .count = n, .clock = s->models->clocks[device], .now_ns = clock_now()};
  return STATUS_OK;
}

void model_room_free(struct model_room_picture *picture) {
  free(picture->models);
  free(picture->weights);
}

uint64_t model_room_ram(const struct service *s) {
  uint64_t most = 0;
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    if (device->info->host_memory && !device->gone && !strain_keeps_out(s, i, VIEW_PRIORITY_NORMAL))
      most = units_max(most, units_minus(state_available(s, device), device->limit / 10));
  }
  return most;
}

uint64_t model_room_first_id(const struct service *s, const struct models_weights *weights) {
  uint32_t index = models_first_of(s, weights);
  return index ? models_at(s, index)->id : 0;
}

uint64_t model_room_reclaimable(const struct service *s, uint32_t device,
                                struct problem_space *space) {
  uint64_t bytes = 0;
  for (const struct models_weights *w = s->models->weights; w; w = w->next) {
    struct policy_model model;
    picture_of(s, w, device, &model);
    if (!model.bytes || model.busy || (model.pinned && !model.spare))
      continue;
    bytes += model.bytes;
    if (!space || space->model_count == sizeof space->models / sizeof *space->models)
      continue;
    space->models[space->model_count].model = model_room_first_id(s, w);
    space->models[space->model_count++].bytes = model.bytes;
  }
  return bytes;
}

uint64_t model_room_spare(const struct service *s, uint32_t device) {
  uint64_t bytes = 0;
  for (const struct models_weights *w = s->models->weights; w; w = w->next) {
    struct policy_model model;
    picture_of(s, w, device, &model);
    bytes += model.spare && !model.busy ? model.bytes : 0;
  }
  return bytes;
}

/* ---- a load that does not fit ---- */

static struct policy_params params_of(const struct model_work *work, uint32_t device,
                                      uint64_t need) {
  const struct service *s = work->service;
  bool host = s->devices[device].info->host_memory;
  struct policy_params params = policy_preset_params(policy_preset_at(s->models->relief.strategy));
  params.bytes = units_minus(need, state_available(s, &s->devices[device]));
  params.park = params.park && !host;
  params.ram_bytes = host ? 0 : model_room_ram(s);
  params.max_models = UINT32_MAX;
  params.max_priority = (uint8_t)work->params.priority;
  return params;
}

/* A 507 that says what could go. */
static enum status refuse(struct model_work *work, uint32_t device, uint64_t need) {
  const struct service *s = work->service;
  struct problem *problem = &work->problem;
  char size[32], available[32];
  units_format(need, size, sizeof size);
  units_format(state_available(s, &s->devices[device]), available, sizeof available);
  bool never = need > s->devices[device].limit;
  problem_set(problem, never ? STATUS_ALLOCATION_TOO_LARGE : STATUS_INSUFFICIENT_MEMORY,
              "%s does not fit: %s has %s available%s", size, s->devices[device].info->id,
              available,
              never                ? ""
              : work->params.evict ? ", and not enough of its models may go"
                                   : "; evict was not allowed");
  problem->has_space = true;
  state_space_problem(s, &s->devices[device], need, &problem->space);
  promise_blame(&work->broken, problem);
  return problem->status;
}

/* For his sake, by our own right. */
static struct caller ours(const struct model_work *work) {
  struct caller caller = {.role = CALLER_ADMIN, .domain = work->caller.domain};
  __builtin_memcpy(caller.domain_name, work->caller.domain_name, sizeof caller.domain_name);
  __builtin_memcpy(caller.correlation, work->caller.correlation, sizeof caller.correlation);
  return caller;
}

/* Under the lock: what models do not cover is asked of workers, if they promise enough. */
static bool ask_workers(struct model_work *work, uint32_t device, uint64_t bytes) {
  const struct model_optimize_need need = {device, bytes, work->params.priority};
  const struct caller caller = ours(work);
  if (work->asked)
    return false;
  work->asked = true;
  work->victim = model_optimize_room(work->service, &caller, &need);
  return work->victim != NULL;
}

/* Under the lock: the plan's first step begins. */
static enum status begin_victim(struct model_work *work, const struct model_room_picture *picture,
                                const struct policy_step *step) {
  struct service *s = work->service;
  struct models_weights *weights = picture->weights[step->model];
  const struct caller caller = ours(work);
  work->victim = model_unload_victim(s, &caller, weights, step->act);
  if (!work->victim)
    return problem_set(&work->problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  work->evicts = true;
  return STATUS_PENDING;
}

static bool waits_for_calm(const struct model_work *work, uint32_t device, uint64_t need) {
  const struct state_device *home = &work->service->devices[device];
  return home->strain.on && need <= home->limit &&
         strain_keeps_out(work->service, device, work->params.priority);
}

static void note_effects(struct model_work *work, uint32_t device, uint64_t missing,
                         enum status status) {
  if (status != STATUS_PENDING)
    return;
  if (!work->waited)
    effects_space(work->service, device, missing, EFFECTS_WAITED);
  work->waited = true;
  if (work->evicts)
    effects_space(work->service, device, missing, EFFECTS_EVICTED);
}

enum status model_room_make(struct model_work *work, uint32_t device, uint64_t need) {
  struct model_room_picture picture;
  struct policy_params params = params_of(work, device, need);
  struct policy_plan plan;
  if (model_room_look(work->service, device, &picture))
    return problem_set(&work->problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  work->evicts = false;
  bool may = work->params.evict && work->rounds++ < ROOM_ROUNDS;
  enum status status = policy_plan_make(&picture.snapshot, &params, &plan);
  bool soon = !status && may && !plan.covered && plan.next_ns && plan.bytes_of[POLICY_YOUNG];
  if (!status && may && plan.covered && plan.count)
    status = begin_victim(work, &picture, &plan.steps[0]);
  else if (status || !(soon || waits_for_calm(work, device, need) ||
                       (may && ask_workers(work, device, params.bytes))))
    status = refuse(work, device, need);
  else
    /* Somebody will soon have been here long enough, a strain ends, or a worker gives. */
    status = STATUS_PENDING;
  note_effects(work, device, params.bytes, status);
  policy_plan_free(&plan);
  model_room_free(&picture);
  return status;
}

static void victim_gone(struct job_waiter *waiter) {
  struct model_work *work =
      (struct model_work *)((char *)waiter - offsetof(struct model_work, victim_ended));
  struct job_view view;
  job_look(work->victim, &view);
  if (view.state != JOB_COMPLETED)
    work->rounds += ROOM_FAILED;
  if (view.kind == JOB_OPTIMIZE)
    work->broken = view.result.optimize.broken;
  job_give(work->victim);
  work->victim = NULL;
  model_work_hop(work, model_load_plan);
}

void model_room_wait(struct model_work *work) {
  work->victim_ended.ready = victim_gone;
  if (!job_wait(work->victim, &work->victim_ended))
    victim_gone(&work->victim_ended);
}

/* Models for all of it, else for what workers do not give. */
static enum status plan_with_workers(const struct service *s, const struct policy_snapshot *models,
                                     struct policy_params params, struct policy_plan *out) {
  uint64_t workers = worker_relief_promised(s);
  enum status status = policy_plan_make(models, &params, out);
  if (status || out->covered || !workers)
    return status;
  policy_plan_free(out);
  params.bytes = units_minus(params.bytes, workers);
  return policy_plan_make(models, &params, out);
}

void model_room_foretell(const struct model_work *work, uint32_t device, uint64_t need,
                         struct job_trial *trial) {
  struct service *s = work->service;
  struct model_room_picture picture;
  struct policy_params params = params_of(work, device, need);
  struct policy_plan plan;
  if (model_room_look(s, device, &picture))
    return;
  if (!plan_with_workers(s, &picture.snapshot, params, &plan)) {
    trial->would_fit = plan.covered && work->params.evict;
    for (uint32_t i = 0; i < plan.count && i < JOB_VICTIMS; i++) {
      trial->victims[i].model = model_room_first_id(s, picture.weights[plan.steps[i].model]);
      trial->victims[i].bytes = plan.steps[i].bytes;
      trial->victims[i].to = (int)model_unload_to(plan.steps[i].act);
      trial->count++;
    }
    policy_plan_free(&plan);
  }
  model_room_free(&picture);
}
