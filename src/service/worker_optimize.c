/*
 * worker_optimize: ask, then look at the device's figure until it fell by three quarters of what
 * the worker says it freed, or two seconds passed: drivers take their time. One that is silent is
 * left behind at its deadline: its question lives on by itself until the wire gives it up.
 */
#include "service/worker_optimize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "service/job_work.h"
#include "service/layers.h"
#include "service/models.h"
#include "service/sampler.h"
#include "service/waiting.h"

#define LATE_NS (500 * CLOCK_MS) /* beyond its deadline: the way there and back */
#define SETTLE_NS (2 * CLOCK_SECOND)
#define POLL_NS (100 * CLOCK_MS)

struct asking {
  struct mover_task task; /* first */
  struct task hop;
  struct service *service;
  struct job *job;
  uint32_t device; /* UINT32_MAX: all */
  uint64_t promised, used_before, made_before, started_ns;
  uint64_t patience, most; /* its silence, and when its time is over in any case */
  uint64_t until;          /* for its answer, then for the figure; under the state lock */
  struct problem problem;
  struct job_optimize result;
  bool answered, over; /* under the state lock: whoever comes second frees it */
  uint64_t exclude[];
};

/* ---- the end ---- */

static void set_result(struct job_view *view, void *arg) {
  view->result.optimize = *(const struct job_optimize *)arg;
}

/* Under the lock: what its word was worth, if it could be asked at all. */
static void judge(struct asking *asking) {
  struct service *s = asking->service;
  const char *worker = asking->task.worker;
  uint64_t promised = asking->promised, freed = asking->result.freed_bytes;
  if (asking->problem.status == STATUS_WORKER_UNAVAILABLE ||
      asking->problem.status == STATUS_CANCELLED)
    return;
  bool broke = promise_note(&s->models->promises, worker, promised, freed);
  log_info("service", "worker %s gave %llu of %llu bytes%s%s", worker, (unsigned long long)freed,
           (unsigned long long)promised, asking->answered ? "" : " and did not answer in time",
           broke ? ": it is asked last from now on" : "");
  if (!broke)
    return;
  asking->result.broken = (struct job_broken){.promised_bytes = promised, .freed_bytes = freed};
  snprintf(asking->result.broken.worker, sizeof asking->result.broken.worker, "%s", worker);
}

static void finish(struct asking *asking) {
  struct service *s = asking->service;
  asking->result.time_ms = (clock_now() - asking->started_ns) / CLOCK_MS;
  lock_take(&s->lock);
  asking->result.utilization_after = state_utilization_on(s, asking->device);
  judge(asking);
  s->optimizing--;
  models_note_optimized(s, asking->problem.status);
  waiting_kick(s);
  lock_give(&s->lock);
  job_update(asking->job, set_result, &asking->result);
  job_finish(asking->job, &asking->problem);
  lock_take(&s->lock);
  asking->over = true;
  bool last = asking->answered;
  lock_give(&s->lock);
  if (!last)
    return;
  (void)queue_cancel(s->decision, &asking->hop);
  free(asking);
}

/* It answered: until what it said is there, or will not be. The driver is asked meanwhile. */
static void settle(struct asking *asking, uint64_t gave, bool stopping) {
  struct service *s = asking->service;
  uint64_t said = asking->problem.status ? 0 : asking->task.bytes;
  struct job *fresh = NULL;
  asking->result.freed_bytes = units_min(gave, said);
  if (gave >= said - said / 4 || stopping || clock_now() >= asking->until) {
    finish(asking);
    return;
  }
  if (sampler_fresh(s, false, &fresh) == STATUS_PENDING)
    job_give(fresh);
  queue_post_at(s->decision, &asking->hop, clock_now() + POLL_NS);
}

/* Under the lock: by how much the figure fell, without what others got meanwhile. */
static uint64_t what_came(const struct asking *asking) {
  const struct service *s = asking->service;
  uint64_t made = state_made_on(s, asking->device) - asking->made_before;
  return units_minus(asking->used_before + made, state_used_on(s, asking->device));
}

/* On the decision thread: at its answer, at its deadline, and meanwhile, for the daemon may stop.
 */
static void look(struct task *task) {
  struct asking *asking = (struct asking *)((char *)task - offsetof(struct asking, hop));
  struct service *s = asking->service;
  lock_take(&s->lock);
  uint64_t gave = what_came(asking), until = asking->until;
  bool stopping = s->stopping, answered = asking->answered;
  if (!answered && stopping)
    problem_set(&asking->problem, STATUS_CANCELLED, "the daemon stops");
  else if (!answered && clock_now() >= asking->until)
    problem_set(&asking->problem, STATUS_WORKER_TIMEOUT, "worker %s did not answer in time",
                asking->task.worker);
  bool given_up = !answered && asking->problem.status;
  lock_give(&s->lock);
  if (answered)
    settle(asking, gave, stopping);
  else if (given_up)
    finish(asking);
  else
    queue_post_at(s->decision, &asking->hop, units_min(until, clock_now() + POLL_NS));
}

/* On the loop: it is still at it. */
static void heard(struct mover_task *task, uint64_t bytes_done) {
  struct asking *asking = (struct asking *)task;
  (void)bytes_done;
  LOCK_SCOPE(&asking->service->lock);
  asking->until = units_min(clock_now() + asking->patience, asking->most);
}

/* On the loop. */
static void answered(struct mover_task *task) {
  struct asking *asking = (struct asking *)task;
  struct service *s = asking->service;
  lock_take(&s->lock);
  bool last = asking->over;
  asking->answered = true;
  if (!asking->problem.status) {
    asking->problem = task->problem;
    asking->until = clock_now() + SETTLE_NS;
    (void)queue_cancel(s->decision, &asking->hop);
    (void)queue_post(s->decision, &asking->hop);
  }
  lock_give(&s->lock);
  if (last)
    free(asking);
}

/* ---- the start ---- */

static bool knows_optimize(const char *capabilities) {
  static const char name[] = "memory.optimize";
  for (const char *at = capabilities; (at = strstr(at, name)); at++)
    if ((at == capabilities || at[-1] == ',') &&
        (!at[sizeof name - 1] || at[sizeof name - 1] == ','))
      return true;
  return false;
}

bool worker_optimize_promises(const struct view_worker *worker) {
  return worker->reclaimable_bytes && worker->status_ns && knows_optimize(worker->capabilities);
}

static bool find_worker(struct service *s, const char *name, struct view_worker *out) {
  struct view_worker workers[VIEW_WORKERS];
  uint32_t count = service_workers(s, workers, VIEW_WORKERS);
  for (uint32_t i = 0; i < count; i++) {
    *out = workers[i];
    if (!strcmp(workers[i].id, name))
      return true;
  }
  return false;
}

/* All that it says it could free. */
static uint64_t offered(struct service *s, const struct view_worker *worker) {
  struct view_opportunity said[VIEW_OPPORTUNITIES];
  uint32_t count =
      s->mover->opportunities ? s->mover->opportunities(s->mover_ctx, said, VIEW_OPPORTUNITIES) : 0;
  uint64_t sum = 0;
  for (uint32_t i = 0; i < count; i++)
    if (!strcmp(said[i].worker, worker->id))
      sum += units_min(said[i].bytes, UINT64_MAX / VIEW_OPPORTUNITIES);
  return units_max(sum, worker->status_ns ? worker->reclaimable_bytes : 0);
}

/* Under the state lock; `id` 0: the job is unlisted. NULL: no memory, or too many jobs. */
static struct asking *make(struct service *s, const struct caller *caller,
                           const struct worker_ask *ask, uint64_t id) {
  size_t excluded = ask->want.exclude_count * sizeof *ask->want.exclude;
  struct asking *asking = calloc(1, sizeof *asking + excluded);
  struct job *job =
      asking ? job_make(s, &(struct job_params){.kind = JOB_OPTIMIZE, .caller = caller, .id = id})
             : NULL;
  if (!job) {
    free(asking);
    return NULL;
  }
  *asking = (struct asking){
      .service = s,
      .job = job,
      .device = ask->device,
      .promised = ask->promised,
      .used_before = state_used_on(s, ask->device),
      .made_before = state_made_on(s, ask->device),
      .started_ns = clock_now(),
      .result = {.triggered = true,
                 .strategy = (int)ask->want.strategy,
                 .impact_unknown = true,
                 .utilization_before = state_utilization_on(s, ask->device)},
      .task = {.action = MOVER_OPTIMIZE,
               .device_id = ask->device == UINT32_MAX ? NULL : s->devices[ask->device].info->id,
               .want = ask->want,
               .value =
                   (uint8_t)pressure_next(&s->thresholds, PRESSURE_LOW, 100 * ask->target_percent),
               .progress = heard,
               .done = answered}};
  asking->patience = state_ns(ask->want.deadline_ms, CLOCK_MS) + LATE_NS;
  asking->until = asking->started_ns + asking->patience;
  asking->most = units_max(asking->until, asking->started_ns + state_ns(ask->limit_ms, CLOCK_MS));
  asking->hop.run = look;
  s->optimizing++;
  asking->task.want.exclude = asking->exclude;
  if (excluded)
    memcpy(asking->exclude, ask->want.exclude, excluded);
  snprintf(asking->task.worker, sizeof asking->task.worker, "%s", ask->worker);
  memcpy(asking->task.correlation, caller->correlation, sizeof asking->task.correlation);
  return asking;
}

static void submit(struct asking *asking) {
  queue_post_at(asking->service->decision, &asking->hop, asking->started_ns + POLL_NS);
  layers_submit(asking->service, &asking->task, asking->started_ns);
}

struct job *worker_optimize_ask(struct service *s, const struct caller *caller,
                                const struct worker_ask *ask) {
  lock_take(&s->lock);
  struct asking *asking = s->stopping ? NULL : make(s, caller, ask, 0);
  struct job *job = asking ? job_keep(asking->job) : NULL;
  lock_give(&s->lock);
  if (asking)
    submit(asking);
  return job;
}

enum status worker_optimize_start(struct service *s, const struct caller *caller,
                                  const struct model_optimize *params, struct model_optimized *out,
                                  struct problem *problem) {
  struct view_worker worker;
  uint32_t device = UINT32_MAX;
  enum status status =
      params->device[0] ? state_find_device(s, params->device, &device, problem) : STATUS_OK;
  if (status)
    return status;
  if (!find_worker(s, params->worker, &worker)) {
    snprintf(problem->subject, sizeof problem->subject, "%s", params->worker);
    return problem_set(problem, STATUS_WORKER_NOT_FOUND, "no worker %s", params->worker);
  }
  uint64_t offer = offered(s, &worker), wanted = params->min_bytes ? params->min_bytes : offer;
  out->plan.triggered = wanted > 0;
  out->plan.impact_unknown = true;
  if (!wanted)
    snprintf(out->plan.reason, sizeof out->plan.reason, "worker %s has nothing to give",
             params->worker);
  const struct worker_ask ask = {.worker = params->worker,
                                 .device = device,
                                 .promised = units_min(wanted, offer),
                                 .target_percent = (uint32_t)params->target_percent,
                                 .want = {.bytes = wanted,
                                          .deadline_ms = params->max_time_ms,
                                          .max_models = params->max_models,
                                          .strategy = (uint32_t)params->strategy,
                                          .force = params->force}};
  lock_take(&s->lock);
  const struct promise before = promise_of(&s->models->promises, params->worker);
  bool asks = wanted && !params->dry_run;
  struct asking *asking =
      asks && !s->stopping ? make(s, caller, &ask, ledger_next_id(s->ledger)) : NULL;
  if (asking)
    out->job = job_keep(asking->job);
  lock_give(&s->lock);
  out->plan.bytes = promise_scale(&before, units_min(wanted, offer));
  if (!asks)
    return STATUS_OK;
  if (!asking)
    return problem_set(problem, STATUS_RATE_LIMITED,
                       "too many jobs are under way, or the daemon stops");
  job_running(asking->job);
  submit(asking);
  return STATUS_OK;
}

/* ---- what there is to be had ---- */

uint32_t worker_optimize_offers(struct service *s, struct worker_offer *out, uint32_t max) {
  struct view_opportunity said[VIEW_OPPORTUNITIES];
  struct problem ignored;
  uint32_t device, count = 0;
  if (s->mover && s->mover->opportunities)
    count = s->mover->opportunities(s->mover_ctx, said, VIEW_OPPORTUNITIES);
  count = count < max ? count : max;
  LOCK_SCOPE(&s->lock);
  for (uint32_t i = 0; i < count; i++) {
    const struct promise promise = promise_of(&s->models->promises, said[i].worker);
    uint32_t model = said[i].model[0] ? models_find(s, said[i].model) : 0;
    bool named = !state_find_device(s, said[i].device, &device, &ignored);
    out[i] = (struct worker_offer){.said = said[i],
                                   .expected_bytes = promise_scale(&promise, said[i].bytes),
                                   .promised_bytes = promise.promised_bytes,
                                   .freed_bytes = promise.freed_bytes,
                                   .device_id = named ? s->devices[device].info->id : NULL,
                                   .model = model ? models_at(s, model)->id : 0};
  }
  return count;
}
