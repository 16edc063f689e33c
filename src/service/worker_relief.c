/*
 * worker_relief: one state machine per device on the decision thread. Workers are asked one after
 * the other, so that what the figure fell by is what that one gave. One that is silent is left
 * behind at its deadline: its question lives on by itself until the wire gives it up.
 */
#include "service/worker_relief.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "service/layers.h"
#include "service/models.h"
#include "service/sampler.h"
#include "service/worker_optimize.h"

#define WORKER_RELIEF_DEADLINE_MS 2000
/* From its deadline to when it is not waited for any longer: the way there and back. */
#define WORKER_RELIEF_LATE_NS (500 * CLOCK_MS)
#define WORKER_RELIEF_SETTLE_NS (2 * CLOCK_SECOND) /* for the driver's figure to fall */
#define WORKER_RELIEF_POLL_NS (100 * CLOCK_MS)

struct question;

struct candidate {
  char name[40];
  uint64_t promised;
};

enum phase { PHASE_NONE, PHASE_ASK, PHASE_WAIT, PHASE_SETTLE, PHASE_MODELS };

struct relieving {
  struct task hop; /* first: the decision thread's */
  struct job_waiter waiter;
  struct service *service;
  uint32_t device, count, at;
  enum phase phase;
  bool last; /* those that broke their promise have their turn */
  struct candidate candidates[VIEW_WORKERS];
  uint64_t used_before, wanted, until;
  struct job *job;           /* the models' */
  struct question *question; /* under way; under the state lock, as are these: */
  uint64_t said;             /* bytes that it says it freed */
  bool running;
};

struct question {
  struct mover_task task;      /* first */
  struct relieving *relieving; /* NULL: not waited for any longer */
  struct service *service;
};

struct worker_relief {
  worker_relief_fn *models;
  struct relieving devices[VIEW_DEVICES];
  char broke[VIEW_WORKERS][40]; /* promised and did not give; "" none */
  uint32_t broke_next;
  uint64_t promised; /* to be expected of those who are believed; under the state lock */
};

/* ---- trust ---- */

static char *find_broken(struct worker_relief *all, const char *name) {
  for (uint32_t i = 0; i < VIEW_WORKERS; i++)
    if (!strcmp(all->broke[i], name))
      return all->broke[i];
  return NULL;
}

static void judge(struct relieving *r, uint64_t gave) {
  struct worker_relief *all = r->service->worker_relief;
  const struct candidate *asked = &r->candidates[r->at];
  uint64_t promised = units_min(asked->promised, r->wanted);
  char *broken = find_broken(all, asked->name);
  bool broke = gave < promised - promised / 4;
  log_info("service", "worker %s gave %llu of %llu bytes%s", asked->name, (unsigned long long)gave,
           (unsigned long long)promised, broke ? ": it is asked last from now on" : "");
  if (broken && !broke)
    broken[0] = '\0';
  if (!broken && broke)
    snprintf(all->broke[all->broke_next++ % VIEW_WORKERS], sizeof all->broke[0], "%s", asked->name);
}

/* ---- one worker ---- */

static bool was_chosen(const struct relieving *r, const char *name) {
  for (uint32_t i = 0; i < r->count; i++)
    if (!strcmp(r->candidates[i].name, name))
      return true;
  return false;
}

/* Those of this turn that say they have bytes to give; nobody twice in one relief. */
static void choose(struct relieving *r) {
  struct view_worker workers[VIEW_WORKERS];
  uint32_t count = service_workers(r->service, workers, VIEW_WORKERS);
  for (uint32_t i = 0; i < count && r->count < VIEW_WORKERS; i++) {
    const struct view_worker *worker = &workers[i];
    bool broken = find_broken(r->service->worker_relief, worker->id) != NULL;
    if (!worker_optimize_promises(worker) || broken != r->last || was_chosen(r, worker->id))
      continue;
    memcpy(r->candidates[r->count].name, worker->id, sizeof r->candidates[0].name);
    r->candidates[r->count++].promised = worker->reclaimable_bytes;
  }
}

/* On the loop. */
static void answered(struct mover_task *task) {
  struct question *question = (struct question *)task;
  struct service *s = question->service;
  lock_take(&s->lock);
  struct relieving *r = question->relieving;
  if (r) {
    r->question = NULL;
    r->said = task->problem.status ? 0 : task->bytes;
    queue_post_at(s->decision, &r->hop, 0);
  }
  lock_give(&s->lock);
  free(question);
}

/* Under the state lock. */
static struct question *make_question(struct relieving *r) {
  struct service *s = r->service;
  struct question *question = calloc(1, sizeof *question);
  if (!question)
    return NULL;
  *question =
      (struct question){.relieving = r,
                        .service = s,
                        .task = {.action = MOVER_OPTIMIZE,
                                 .device_id = s->devices[r->device].info->id,
                                 .want = {.bytes = r->wanted,
                                          .deadline_ms = WORKER_RELIEF_DEADLINE_MS,
                                          .max_models = UINT64_MAX,
                                          .strategy = s->models->relief.strategy},
                                 .value = (uint8_t)pressure_next(&s->thresholds, PRESSURE_LOW,
                                                                 s->models->relief.target),
                                 .done = answered}};
  memcpy(question->task.worker, r->candidates[r->at].name, sizeof question->task.worker);
  return question;
}

/* False: nothing more is wanted, or there is nobody left. */
static bool ask_next(struct relieving *r) {
  struct service *s = r->service;
  struct question *question = NULL;
  lock_take(&s->lock);
  r->wanted = state_excess(s, &s->devices[r->device], s->models->relief.target);
  r->used_before = state_used(s, &s->devices[r->device]);
  r->said = 0;
  if (r->wanted && r->at < r->count && !s->stopping)
    question = r->question = make_question(r);
  lock_give(&s->lock);
  if (!question)
    return false;
  r->phase = PHASE_WAIT;
  r->until = clock_now() + WORKER_RELIEF_DEADLINE_MS * CLOCK_MS + WORKER_RELIEF_LATE_NS;
  queue_post_at(s->decision, &r->hop, r->until);
  layers_submit(s, &question->task, 0);
  return true;
}

/* True: it answered, or its time is over. */
static bool take_answer(struct relieving *r) {
  struct service *s = r->service;
  bool early = clock_now() < r->until;
  lock_take(&s->lock);
  bool waits = r->question && early && !s->stopping;
  if (r->question && !waits)
    r->question->relieving = NULL;
  if (!waits)
    r->question = NULL;
  lock_give(&s->lock);
  if (waits) {
    queue_post_at(s->decision, &r->hop, r->until);
    return false;
  }
  r->phase = PHASE_SETTLE;
  r->until = clock_now() + (r->said ? WORKER_RELIEF_SETTLE_NS : 0);
  return true;
}

/* True: what it said is there, or will not be. The driver is asked for its figure meanwhile. */
static bool settle(struct relieving *r) {
  struct service *s = r->service;
  struct job *job = NULL;
  lock_take(&s->lock);
  uint64_t gave = units_minus(r->used_before, state_used(s, &s->devices[r->device]));
  bool stopping = s->stopping;
  lock_give(&s->lock);
  if (gave >= r->said - r->said / 4 || stopping || clock_now() >= r->until) {
    judge(r, gave);
    r->at++;
    r->phase = PHASE_ASK;
    return true;
  }
  if (sampler_fresh(s, false, &job) == STATUS_PENDING)
    job_give(job);
  queue_post_at(s->decision, &r->hop, clock_now() + WORKER_RELIEF_POLL_NS);
  return false;
}

/* ---- the whole of it ---- */

static void models_done(struct job_waiter *waiter) {
  struct relieving *r = (struct relieving *)((char *)waiter - offsetof(struct relieving, waiter));
  queue_post_at(r->service->decision, &r->hop, 0);
}

/* True: go on at once. */
static bool turn_to_models(struct relieving *r) {
  r->phase = PHASE_MODELS;
  r->job = r->service->worker_relief->models(r->service, r->device);
  r->waiter.ready = models_done;
  return !r->job || !job_wait(r->job, &r->waiter);
}

static bool turn_to_the_last(struct relieving *r) {
  struct job_view view = {.state = JOB_COMPLETED};
  if (r->job)
    job_look(r->job, &view);
  if (view.state < JOB_COMPLETED)
    return false;
  job_give(r->job);
  r->job = NULL;
  r->last = true;
  choose(r);
  r->phase = PHASE_ASK;
  return true;
}

static void set_running(struct relieving *r, bool running) {
  LOCK_SCOPE(&r->service->lock);
  r->running = running;
}

static bool ask_or_turn(struct relieving *r) {
  if (ask_next(r))
    return false;
  r->at = r->count; /* whoever is left of this turn is not needed */
  if (!r->last)
    return turn_to_models(r);
  set_running(r, false);
  r->phase = PHASE_NONE;
  return false;
}

/* Until something has to be waited for. */
static void step(struct task *task) {
  struct relieving *r = (struct relieving *)task;
  for (bool goes_on = true; goes_on;) {
    switch (r->phase) {
    case PHASE_NONE:
      return;
    case PHASE_ASK:
      goes_on = ask_or_turn(r);
      break;
    case PHASE_WAIT:
      goes_on = take_answer(r);
      break;
    case PHASE_SETTLE:
      goes_on = settle(r);
      break;
    case PHASE_MODELS:
      goes_on = turn_to_the_last(r);
      break;
    }
  }
}

void worker_relief_start(struct service *s, uint32_t device) {
  struct relieving *r = &s->worker_relief->devices[device];
  if (r->phase != PHASE_NONE || !s->mover)
    return;
  r->service = s;
  r->device = device;
  r->hop.run = step;
  r->last = false;
  r->count = r->at = 0;
  r->phase = PHASE_ASK;
  set_running(r, true);
  choose(r);
  step(&r->hop);
}

void worker_relief_look(struct service *s) {
  struct view_worker workers[VIEW_WORKERS];
  uint32_t count = service_workers(s, workers, VIEW_WORKERS);
  uint64_t promised = 0;
  LOCK_SCOPE(&s->lock);
  for (uint32_t i = 0; i < count; i++) {
    const struct promise before = promise_of(&s->models->promises, workers[i].id);
    if (worker_optimize_promises(&workers[i]) && !find_broken(s->worker_relief, workers[i].id))
      promised += promise_scale(&before, workers[i].reclaimable_bytes);
  }
  s->worker_relief->promised = promised;
}

bool worker_relief_may_give(const struct service *s, uint32_t device) {
  const struct worker_relief *all = s->worker_relief;
  return all->devices[device].running || (all->promised && !s->models->relieved[device]);
}

uint64_t worker_relief_promised(const struct service *s) {
  return s->worker_relief ? s->worker_relief->promised : 0;
}

enum status worker_relief_create(struct service *s, worker_relief_fn *models) {
  s->worker_relief = calloc(1, sizeof *s->worker_relief);
  if (!s->worker_relief)
    return STATUS_INTERNAL_ERROR;
  s->worker_relief->models = models;
  return STATUS_OK;
}

void worker_relief_free(struct service *s) {
  if (!s->worker_relief)
    return;
  for (uint32_t i = 0; i < VIEW_DEVICES; i++)
    job_give(s->worker_relief->devices[i].job);
  free(s->worker_relief);
}
