/*
 * work_optimize: the best of the advice, one after another: after each the figures are read anew,
 * until the target is met or nothing that is safe is left. Each is tried once for a device. What is
 * done are the same operations that anybody could ask for, with the caller's rights.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/advice.h"
#include "service/job_work.h"
#include "service/models.h"
#include "service/report.h"
#include "service/state.h"
#include "service/work.h"

#define OPTIMIZE_MODELS_MS 60000 /* for models to go: gigabytes may be copied */

struct optimize {
  struct job_waiter waiter; /* first: of the work under way */
  struct task step;
  struct service *service;
  struct job *job, *under_way;
  struct caller caller;
  struct work_optimize params;
  uint32_t device; /* UINT32_MAX: all */
  struct job_apply result;
};

/* ---- how much is wanted ---- */

/* Of its devices, the most that is over the target, or that is missing to the least. */
static uint64_t wanted(const struct optimize *o) {
  const struct service *s = o->service;
  uint64_t most = units_minus(o->params.min_bytes, o->result.freed_bytes);
  for (uint32_t i = 0; o->params.has_target && i < s->device_count; i++)
    if (o->device == UINT32_MAX || o->device == i)
      most = units_max(most,
                       state_excess(s, &s->devices[i], 100 * (uint32_t)o->params.target_percent));
  return most;
}

static bool is_enough(const struct optimize *o) {
  bool limited = o->params.has_target || o->params.min_bytes;
  LOCK_SCOPE(&o->service->lock);
  return limited && !wanted(o);
}

/* ---- what comes next ---- */

static bool was_tried(const struct optimize *o, const struct advice *advice) {
  for (uint32_t i = 0; i < o->result.count; i++)
    if (o->result.applied[i].kind == (int)advice->kind &&
        o->result.applied[i].device_id == report_device_id(o->service, advice->device))
      return true;
  return false;
}

/* False: nothing is left that may be done. */
static bool choose(const struct optimize *o, struct advice *out) {
  struct advice *all = calloc(ADVICE_MAX, sizeof *all);
  uint32_t count = all ? advice_make(o->service, o->device, all, ADVICE_MAX) : 0;
  bool found = false;
  for (uint32_t i = 0; i < count && !found; i++) {
    found = advice_is_safe(all[i].kind) && !was_tried(o, &all[i]);
    if (found)
      *out = all[i];
  }
  free(all);
  return found;
}

/* ---- doing it ---- */

static void name_device(const struct optimize *o, uint32_t index, char out[80]) {
  strncpy(out, report_device_id(o->service, index), 79);
}

static struct job *begin_clear(struct optimize *o, const struct advice *advice) {
  struct work_clear clear = {.scope = WORK_CLEAR_CACHE, .memory = PLACEMENT_ANY};
  struct work_started started = {.job = NULL};
  struct problem problem;
  name_device(o, advice->device, clear.device);
  return work_clear_start(o->service, &o->caller, &clear, &started, &problem) ? NULL : started.job;
}

static struct job *begin_defragment(struct optimize *o, const struct advice *advice) {
  struct work_defragment defragment = {
      .strategy = DEFRAG_BALANCED, .max_time_seconds = 300, .memory = PLACEMENT_ANY};
  struct work_started *started = calloc(1, sizeof *started);
  struct problem problem;
  name_device(o, advice->device, defragment.device);
  bool begun =
      started && !work_defragment_start(o->service, &o->caller, &defragment, started, &problem);
  struct job *job = begun ? started->job : NULL;
  free(started);
  return job;
}

static struct job *begin_models(struct optimize *o, const struct advice *advice) {
  lock_take(&o->service->lock);
  struct service_relief relief = o->service->models->relief;
  lock_give(&o->service->lock);
  struct model_optimize models = {
      .strategy = (int)relief.strategy,
      .target_percent = o->params.has_target ? o->params.target_percent : relief.target / 100,
      .min_bytes = units_minus(o->params.min_bytes, o->result.freed_bytes),
      .max_models = UINT64_MAX,
      .max_time_ms = OPTIMIZE_MODELS_MS,
      .workers_too = true};
  struct model_optimized out;
  struct problem problem;
  name_device(o, advice->device, models.device);
  return model_optimize_start(o->service, &o->caller, &models, &out, &problem) ? NULL : out.job;
}

static uint64_t freed_by_clear(const struct job_view *view) {
  return view->result.clear.cleared_bytes;
}
static uint64_t freed_by_defragment(const struct job_view *view) {
  return view->result.defrag.total.released_bytes;
}
static uint64_t freed_by_models(const struct job_view *view) {
  return view->result.optimize.freed_bytes;
}

static const struct {
  struct job *(*begin)(struct optimize *o, const struct advice *advice);
  uint64_t (*freed)(const struct job_view *view);
} acts[ADVICE_KINDS] = {
    [ADVICE_CACHE] = {begin_clear, freed_by_clear},
    [ADVICE_DEFRAGMENT] = {begin_defragment, freed_by_defragment},
    [ADVICE_MODELS] = {begin_models, freed_by_models},
};

/* ---- the job ---- */

static void set_result(struct job_view *view, void *arg) {
  view->result.apply = *(const struct job_apply *)arg;
}

static void finish(struct optimize *o) {
  struct problem problem = {.status = STATUS_OK};
  if (job_cancelled(o->job))
    problem_set(&problem, STATUS_CANCELLED, "cancelled");
  job_update(o->job, set_result, &o->result);
  job_finish(o->job, &problem);
  free(o);
}

/* On whichever thread ended the work. */
static void ended(struct job_waiter *waiter) {
  struct optimize *o = (struct optimize *)waiter;
  struct job_applied *row = &o->result.applied[o->result.count - 1];
  struct job_view view;
  job_look(o->under_way, &view);
  job_give(o->under_way);
  if (view.state == JOB_COMPLETED)
    row->freed_bytes = acts[row->kind].freed(&view);
  o->result.freed_bytes += row->freed_bytes;
  queue_post(o->service->decision, &o->step);
}

static void note(const struct service *s, struct job_apply *result, const struct advice *advice) {
  result->applied[result->count++] =
      (struct job_applied){.kind = (int)advice->kind,
                           .device_id = report_device_id(s, advice->device),
                           .expected_bytes = advice->expected_bytes};
}

/* On the decision thread: the next of them, or the end. */
static void step(struct task *task) {
  struct optimize *o = (struct optimize *)((char *)task - offsetof(struct optimize, step));
  struct advice next;
  if (job_cancelled(o->job) || o->result.count == JOB_APPLIED || is_enough(o) ||
      !choose(o, &next)) {
    finish(o);
    return;
  }
  note(o->service, &o->result, &next);
  o->under_way = acts[next.kind].begin(o, &next);
  if (!o->under_way) { /* nothing is left of it, or it is not the caller's to do */
    queue_post(o->service->decision, &o->step);
    return;
  }
  o->waiter.ready = ended;
  if (!job_wait(o->under_way, &o->waiter))
    ended(&o->waiter);
}

/* ---- start ---- */

/* What a run would begin with; what follows depends on what that brings. */
static void foretell(const struct optimize *o, struct job_apply *out) {
  struct advice *all = calloc(ADVICE_MAX, sizeof *all);
  uint32_t count = all ? advice_make(o->service, o->device, all, ADVICE_MAX) : 0;
  lock_take(&o->service->lock);
  uint64_t most = o->params.has_target || o->params.min_bytes ? wanted(o) : UINT64_MAX;
  lock_give(&o->service->lock);
  for (uint32_t i = 0; i < count && out->count < JOB_APPLIED && out->freed_bytes < most; i++) {
    if (!advice_is_safe(all[i].kind))
      continue;
    note(o->service, out, &all[i]);
    out->applied[out->count - 1].freed_bytes = all[i].expected_bytes;
    out->freed_bytes += all[i].expected_bytes;
  }
  free(all);
}

/* Under the lock. */
static enum status launch(struct optimize *o, struct problem *problem) {
  struct service *s = o->service;
  if (s->stopping)
    return problem_set(problem, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
  o->job = job_make(s, &(struct job_params){.kind = JOB_APPLY,
                                            .caller = &o->caller,
                                            .id = ledger_next_id(s->ledger),
                                            .cancellable = true});
  return o->job ? STATUS_OK
                : problem_set(problem, STATUS_RATE_LIMITED, "too many jobs are under way");
}

enum status work_optimize_start(struct service *s, const struct caller *caller,
                                const struct work_optimize *params, struct work_optimized *out,
                                struct problem *problem) {
  struct optimize *o = calloc(1, sizeof *o);
  *out = (struct work_optimized){.job = NULL};
  if (!o)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  o->service = s;
  o->caller = *caller;
  o->params = *params;
  o->device = UINT32_MAX;
  o->step.run = step;
  enum status status =
      params->device[0] ? state_find_device(s, params->device, &o->device, problem) : STATUS_OK;
  if (!status && params->dry_run)
    foretell(o, &out->plan);
  if (!status && !params->dry_run) {
    LOCK_SCOPE(&s->lock);
    status = launch(o, problem);
  }
  if (status || params->dry_run) {
    free(o);
    return status;
  }
  out->job = job_keep(o->job);
  job_running(o->job);
  queue_post(s->decision, &o->step);
  return STATUS_OK;
}
