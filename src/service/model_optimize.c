/*
 * model_optimize: models give a device's memory back until a target is met: model/policy says who,
 * then one victim after another goes, as for a load that needs room. What they do not give is asked
 * of workers that have memory of their own, one after the other. A job of its own, for parking may
 * copy.
 */
#include "service/model_optimize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "model/policy_preset.h"
#include "service/coordination.h"
#include "service/effects.h"
#include "service/job_work.h"
#include "service/model_room.h"
#include "service/model_unload.h"
#include "service/model_worth.h"
#include "service/waiting.h"
#include "service/worker_list.h"
#include "service/worker_optimize.h"
#include "service/worker_relief.h"

#define OPTIMIZE_LOOK_NS (250 * CLOCK_MS) /* while it waits: it may be cancelled */

struct optimizing {
  struct job_waiter waiter;
  struct task hop;
  struct service *service;
  struct job *job, *victim;
  struct caller caller;
  struct policy_params policy;
  uint32_t device; /* UINT32_MAX: all */
  uint64_t target_percent, min_bytes, deadline, started_ns;
  uint64_t *excluded; /* models' ids */
  uint32_t excluded_count, max_models;
  bool force, workers_too;    /* they were not looked at yet */
  bool workers_first;         /* without what they give, models would go in vain */
  struct worker_list workers; /* to be asked */
  bool foretells;             /* who is young will be old enough by the deadline */
  uint64_t victim_bytes;
  uint64_t over[VIEW_DEVICES]; /* the trigger, or what a request lacks: at most since it began */
  double victim_worth, gone_worth, all_worth;
  uint64_t again_ns; /* somebody will have been there long enough then */
  struct job_optimize result;
  struct problem problem;
};

/* ---- how much ---- */

/* Bytes that must go on a device; under the lock. */
static uint64_t wanted(const struct service *s, const struct optimizing *o, uint32_t device) {
  uint64_t least = units_minus(o->min_bytes, o->result.freed_bytes);
  return units_max(state_excess(s, &s->devices[device], 100 * (uint32_t)o->target_percent), least);
}

/* The most that is wanted of any of its devices; under the lock. */
static uint64_t wanted_most(const struct service *s, const struct optimizing *o) {
  uint64_t most = 0;
  for (uint32_t i = 0; i < s->device_count; i++)
    if (o->device == UINT32_MAX || o->device == i)
      most = units_max(most, wanted(s, o, i));
  return most;
}

/* ---- whom ---- */

static bool is_excluded(const struct service *s, const struct optimizing *o,
                        const struct models_weights *weights) {
  for (uint32_t i = 0; i < o->excluded_count; i++) {
    uint32_t index = idmap_find(&s->models->ids, o->excluded[i]);
    if (index && models_at(s, index)->weights == weights)
      return true;
  }
  return false;
}

/* Under the lock: the plan for one device. The caller frees both. */
static enum status plan_device(struct service *s, const struct optimizing *o, uint32_t device,
                               struct model_room_picture *picture, struct policy_plan *plan) {
  struct policy_params params = o->policy;
  params.bytes = wanted(s, o, device);
  params.max_models = units_minus(o->max_models, o->result.count) > UINT32_MAX
                          ? UINT32_MAX
                          : (uint32_t)units_minus(o->max_models, o->result.count);
  params.ram_bytes = model_room_ram(s);
  if (s->devices[device].info->host_memory)
    params.park = false;
  if (model_room_look(s, device, picture))
    return STATUS_INTERNAL_ERROR;
  if (o->foretells)
    picture->snapshot.now_ns = o->deadline;
  for (uint32_t i = 0; i < picture->snapshot.count; i++)
    picture->models[i].excluded = is_excluded(s, o, picture->weights[i]);
  enum status status = policy_plan_make(&picture->snapshot, &params, plan);
  if (status)
    model_room_free(picture);
  return status;
}

/* Under the lock: whether models that may go are enough; *most: what they would free. */
static bool is_covered(struct service *s, const struct optimizing *o, uint64_t *most) {
  struct model_room_picture picture;
  struct policy_plan plan;
  *most = 0;
  if (plan_device(s, o, o->device, &picture, &plan))
    return false;
  bool covered = plan.next_ns || (plan.covered && plan.count);
  *most = plan.freed_bytes;
  policy_plan_free(&plan);
  model_room_free(&picture);
  return covered;
}

/* ---- the job ---- */

static void set_result(struct job_view *view, void *arg) {
  view->result.optimize = *(const struct job_optimize *)arg;
}

static void finish(struct optimizing *o) {
  struct service *s = o->service;
  lock_take(&s->lock);
  o->result.utilization_after = state_utilization_on(s, o->device);
  models_note_optimized(s, o->problem.status);
  s->optimizing--;
  lock_give(&s->lock);
  o->result.impact = model_worth_share(o->gone_worth, o->all_worth);
  o->result.time_ms = (clock_now() - o->started_ns) / CLOCK_MS;
  job_update(o->job, set_result, &o->result);
  job_finish(o->job, &o->problem);
  lock_take(&s->lock);
  waiting_kick(s);
  lock_give(&s->lock);
  free(o->excluded);
  free(o);
}

static void step(struct task *task);

static void go_on(struct optimizing *o) {
  job_give(o->victim);
  o->victim = NULL;
  o->hop.run = step;
  queue_post(o->service->decision, &o->hop);
}

static void victim_gone(struct job_waiter *waiter) {
  struct optimizing *o = (struct optimizing *)waiter;
  struct job_view view;
  job_look(o->victim, &view);
  if (view.state == JOB_COMPLETED) {
    o->result.freed_bytes += o->victim_bytes;
    o->gone_worth += o->victim_worth;
  } else if (o->result.count) {
    o->result.count--;
  }
  o->deadline = view.state == JOB_COMPLETED ? o->deadline : 0;
  go_on(o);
}

/* Under the lock: the first victim of a device's plan. False: there is none. */
static bool begin_victim(struct optimizing *o, uint32_t device) {
  struct service *s = o->service;
  struct model_room_picture picture;
  struct policy_plan plan;
  if (!wanted(s, o, device) || plan_device(s, o, device, &picture, &plan))
    return false;
  enum policy_act act = plan.count ? plan.steps[0].act : POLICY_DROP;
  struct models_weights *weights = plan.count ? picture.weights[plan.steps[0].model] : NULL;
  if (weights && o->result.count < JOB_VICTIMS) {
    o->victim_worth = act == POLICY_DRAIN ? 0 : model_worth_of(s, weights, plan.steps[0].bytes);
    o->victim = model_unload_victim(s, &o->caller, weights, act);
    o->victim_bytes = plan.steps[0].bytes;
    o->result.victims[o->result.count].model = model_room_first_id(s, weights);
    o->result.victims[o->result.count].to = (int)model_unload_to(act);
    o->result.count += o->victim != NULL;
  }
  uint64_t over = state_excess(s, &s->devices[device], s->models->relief.trigger);
  o->over[device] = units_max(o->over[device], over);
  if (o->victim)
    effects_space(s, device, o->over[device], EFFECTS_EVICTED);
  /* By the plan's clock: what has come since is for the next one. */
  if (!plan.covered && plan.next_ns > picture.snapshot.now_ns)
    o->again_ns = plan.next_ns;
  policy_plan_free(&plan);
  model_room_free(&picture);
  return o->victim != NULL;
}

/* ---- workers, for what is left ---- */

static void workers_said(struct job_waiter *waiter) {
  struct optimizing *o = (struct optimizing *)waiter;
  worker_list_all(o->service, &o->workers);
  go_on(o);
}

static void worker_gave(struct job_waiter *waiter) {
  struct optimizing *o = (struct optimizing *)waiter;
  struct job_view view;
  job_look(o->victim, &view);
  o->result.freed_bytes += view.result.optimize.freed_bytes;
  if (view.result.optimize.broken.worker[0])
    o->result.broken = view.result.optimize.broken;
  go_on(o);
}

/* How long the next one is waited for: whoever wants room waits for each as long as relief does,
 * and of the time that a user gave, each one has an equal part of what is left. */
static uint64_t patience_ms(const struct optimizing *o) {
  uint64_t left_ms = units_minus(o->deadline, clock_now()) / CLOCK_MS;
  return o->workers_first ? WORKER_RELIEF_DEADLINE_MS
                          : left_ms / (o->workers.count - o->workers.at);
}

static struct job *ask_worker(const struct optimizing *o, uint64_t bytes) {
  const struct worker_list *list = &o->workers;
  uint64_t max_models = o->max_models == UINT32_MAX ? UINT64_MAX : o->max_models;
  return worker_optimize_ask(
      o->service, &o->caller,
      &(struct worker_ask){.worker = list->rows[list->at].name,
                           .device = o->device,
                           .promised = units_min(bytes, list->rows[list->at].promised),
                           .target_percent = (uint32_t)o->target_percent,
                           .limit_ms = o->workers_first ? WORKER_RELIEF_LIMIT_MS : 0,
                           .want = {.bytes = bytes,
                                    .deadline_ms = patience_ms(o),
                                    .max_models = max_models,
                                    .strategy = (uint32_t)o->result.strategy,
                                    .force = o->force,
                                    .exclude_count = o->excluded_count,
                                    .exclude = o->excluded}});
}

/* No lock held: room is wanted, and what the next ones are good for, with all the models, is not
 * enough for it. */
static bool is_in_vain(const struct optimizing *o) {
  struct service *s = o->service;
  uint64_t bytes;
  if (!o->workers_first)
    return false;
  LOCK_SCOPE(&s->lock);
  (void)is_covered(s, o, &bytes);
  return bytes + worker_list_expected(&o->workers) < wanted(s, o, o->device);
}

/* True: one of them is waited for. False: no more is wanted, or nobody is left. No lock held. */
static bool turn_to_workers(struct optimizing *o) {
  struct service *s = o->service;
  lock_take(&s->lock);
  uint64_t bytes = clock_now() < o->deadline && !job_cancelled(o->job) ? wanted_most(s, o) : 0;
  lock_give(&s->lock);
  if (!bytes)
    return false;
  if (o->workers_too) {
    o->workers_too = false;
    o->waiter.ready = workers_said;
    if (coordination_fresh(s, &o->victim) != STATUS_PENDING)
      worker_list_all(o->service, &o->workers);
  }
  if (!o->victim && o->workers.at < o->workers.count) {
    o->waiter.ready = worker_gave;
    o->victim = is_in_vain(o) ? NULL : ask_worker(o, bytes);
    o->workers.at++;
  }
  bool waits = o->victim != NULL;
  if (waits && !job_wait(o->victim, &o->waiter))
    o->waiter.ready(&o->waiter);
  return waits;
}

/* Whether it is the models' turn. False: workers are at it still, or it is over. No lock held. */
static bool turn_to_models(struct optimizing *o) {
  struct service *s = o->service;
  uint64_t most;
  if (!o->workers_first)
    return true;
  if (turn_to_workers(o))
    return false;
  o->workers_first = false;
  lock_take(&s->lock);
  bool covered = is_covered(s, o, &most);
  lock_give(&s->lock);
  if (!covered)
    finish(o);
  return covered;
}

/* On the decision thread: the next victim, or the end. */
static void step(struct task *task) {
  struct optimizing *o = (struct optimizing *)((char *)task - offsetof(struct optimizing, hop));
  struct service *s = o->service;
  bool found = false;
  if (!turn_to_models(o))
    return;
  o->again_ns = 0;
  lock_take(&s->lock);
  bool goes_on = clock_now() < o->deadline && !job_cancelled(o->job) && !s->stopping;
  for (uint32_t i = 0; goes_on && !found && i < s->device_count; i++)
    if (o->device == UINT32_MAX || o->device == i)
      found = begin_victim(o, i);
  lock_give(&s->lock);
  if (!found && o->again_ns && o->again_ns < o->deadline) {
    queue_post_at(s->decision, &o->hop, units_min(o->again_ns, clock_now() + OPTIMIZE_LOOK_NS));
    return;
  }
  if (!found) {
    if (!turn_to_workers(o))
      finish(o);
    return;
  }
  o->waiter.ready = victim_gone;
  if (!job_wait(o->victim, &o->waiter))
    victim_gone(&o->waiter);
}

/* ---- start ---- */

/* The victims of one device's plan; what their uses were worth. */
static double foretell_device(struct service *s, const struct optimizing *o, uint32_t device,
                              struct model_plan *out) {
  struct model_room_picture picture;
  struct policy_plan plan;
  double gone = 0;
  if (plan_device(s, o, device, &picture, &plan))
    return gone;
  for (uint32_t i = 0; i < plan.count && out->count < MODEL_VICTIMS; i++) {
    struct model_victim *victim = &out->victims[out->count++];
    uint32_t first = models_first_of(s, picture.weights[plan.steps[i].model]);
    victim->id = first ? models_at(s, first)->id : 0;
    snprintf(victim->name, sizeof victim->name, "%s", first ? models_at(s, first)->name : "");
    victim->bytes = plan.steps[i].bytes;
    victim->to = (int)model_unload_to(plan.steps[i].act);
    out->bytes += victim->bytes;
    if (plan.steps[i].act != POLICY_DRAIN)
      gone += model_worth_of(s, picture.weights[plan.steps[i].model], victim->bytes);
  }
  out->covered = out->covered || plan.covered;
  policy_plan_free(&plan);
  model_room_free(&picture);
  return gone;
}

static void foretell(struct service *s, struct optimizing *o, struct model_plan *out) {
  double gone = 0;
  o->foretells = true;
  for (uint32_t d = 0; d < s->device_count; d++)
    if ((o->device == UINT32_MAX || o->device == d) && wanted(s, o, d))
      gone += foretell_device(s, o, d, out);
  out->impact = model_worth_share(gone, o->all_worth);
}

static enum status describe(struct service *s, const struct model_optimize *params,
                            struct optimizing *o, struct problem *problem) {
  const struct policy_preset *preset = policy_preset_at((uint32_t)params->strategy);
  o->policy = policy_preset_params(preset);
  o->policy.force = params->force;
  o->policy.last_resort = params->pinned_too;
  o->policy.drop = o->policy.drop && !params->keeps_all;
  o->policy.min_idle_ns = units_max(o->policy.min_idle_ns, params->min_idle_ns);
  o->policy.max_priority = VIEW_PRIORITY_CRITICAL;
  if (params->strategy < POLICY_STRATEGIES && !params->young_wait)
    o->policy.min_loads = 0;
  o->max_models = (uint32_t)units_min(params->max_models, UINT32_MAX);
  o->target_percent = params->target_percent;
  o->min_bytes = params->min_bytes;
  o->force = params->force;
  o->started_ns = clock_now();
  o->deadline = o->started_ns + state_ns(params->max_time_ms, CLOCK_MS);
  o->result.strategy = params->strategy;
  o->result.triggered = true;
  o->excluded = calloc((size_t)params->exclude_count + 1, sizeof *o->excluded);
  if (!o->excluded)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  for (uint32_t i = 0; i < params->exclude_count; i++) {
    uint32_t index = models_find(s, params->exclude[i]);
    if (!index)
      return problem_set(problem, STATUS_MODEL_NOT_FOUND, "no model %.60s", params->exclude[i]);
    o->excluded[o->excluded_count++] = models_at(s, index)->id;
  }
  return STATUS_OK;
}

/* Under the lock. PENDING: the job begins. */
static enum status start(struct service *s, const struct model_optimize *params,
                         struct optimizing *o, struct model_optimized *out,
                         struct problem *problem) {
  enum status status = describe(s, params, o, problem);
  if (status)
    return status;
  o->result.utilization_before = state_utilization_on(s, o->device);
  o->all_worth = model_worth_all(s, o->device);
  out->plan.triggered = params->force || wanted_most(s, o);
  if (!out->plan.triggered)
    snprintf(out->plan.reason, sizeof out->plan.reason, "use is below the target of %u %% already",
             (unsigned)params->target_percent);
  if (params->dry_run && out->plan.triggered)
    foretell(s, o, &out->plan);
  if (params->dry_run || !out->plan.triggered)
    return STATUS_OK;
  o->job = job_make(s, &(struct job_params){.kind = JOB_OPTIMIZE,
                                            .caller = &o->caller,
                                            .id = ledger_next_id(s->ledger),
                                            .cancellable = true});
  if (!o->job)
    return problem_set(problem, STATUS_RATE_LIMITED, "too many jobs are under way");
  out->job = job_keep(o->job);
  s->optimizing++;
  return STATUS_PENDING;
}

enum status model_optimize_start(struct service *s, const struct caller *caller,
                                 const struct model_optimize *params, struct model_optimized *out,
                                 struct problem *problem) {
  *out = (struct model_optimized){0};
  if (params->worker[0])
    return worker_optimize_start(s, caller, params, out, problem);
  struct optimizing *o = calloc(1, sizeof *o);
  if (!o)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  o->service = s;
  o->caller = *caller;
  o->device = UINT32_MAX;
  o->workers_too = params->workers_too;
  enum status status =
      params->device[0] ? state_find_device(s, params->device, &o->device, problem) : STATUS_OK;
  if (!status) {
    LOCK_SCOPE(&s->lock);
    status = start(s, params, o, out, problem);
  }
  if (status == STATUS_PENDING) {
    job_running(o->job);
    o->hop.run = step;
    queue_post(s->decision, &o->hop);
    return STATUS_OK;
  }
  free(o->excluded);
  free(o);
  return status;
}

/* ---- for an allocation ---- */

static struct optimizing for_need(struct service *s, const struct model_optimize_need *need) {
  struct optimizing o = {.service = s,
                         .device = need->device,
                         .policy =
                             policy_preset_params(policy_preset_at(s->models->relief.strategy)),
                         .target_percent = 100,
                         .min_bytes = need->bytes,
                         .max_models = UINT32_MAX,
                         .started_ns = clock_now(),
                         .deadline = UINT64_MAX};
  o.policy.max_priority = (uint8_t)need->max_priority;
  o.over[need->device] = need->bytes;
  return o;
}

struct job *model_optimize_room(struct service *s, const struct caller *caller,
                                const struct model_optimize_need *need) {
  struct optimizing *o = calloc(1, sizeof *o);
  if (!o)
    return NULL;
  *o = for_need(s, need);
  o->caller = *caller;
  uint64_t models, workers = worker_relief_promised(s);
  bool covered = is_covered(s, o, &models);
  o->workers_first = o->workers_too = !covered && workers && models + workers >= need->bytes;
  if (covered || o->workers_first)
    o->job = job_make(s, &(struct job_params){.kind = JOB_OPTIMIZE, .caller = caller});
  if (!o->job) {
    free(o);
    return NULL;
  }
  struct job *job = job_keep(o->job);
  s->optimizing++;
  o->hop.run = step;
  queue_post(s->decision, &o->hop);
  return job;
}

void model_optimize_foretell(struct service *s, const struct model_optimize_need *need,
                             struct model_plan *out) {
  struct optimizing o = for_need(s, need);
  uint64_t workers = worker_relief_promised(s);
  o.foretells = true;
  (void)foretell_device(s, &o, need->device, out);
  if (out->covered || !workers)
    return;
  *out = (struct model_plan){.covered = workers >= need->bytes};
  o.min_bytes = units_minus(need->bytes, workers);
  if (o.min_bytes)
    (void)foretell_device(s, &o, need->device, out);
}
