/*
 * worker_relief: one state machine per device on the decision thread. Workers are asked one after
 * the other, so that what the figure fell by is what that one gave, and each is waited for until
 * its deadline.
 */
#include "service/worker_relief.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/model_relief.h"
#include "service/models.h"
#include "service/worker_list.h"
#include "service/worker_optimize.h"

enum phase { PHASE_NONE, PHASE_ASK, PHASE_WAIT, PHASE_MODELS };

struct relieving {
  struct task hop; /* first: the decision thread's */
  struct job_waiter waiter;
  struct service *service;
  uint32_t device;
  enum phase phase;
  bool last; /* those that broke their promise have their turn */
  struct worker_list list;
  struct job *job; /* a worker's, or the models' */
  bool running;    /* under the state lock */
};

/* Where a part of a promise is. */
struct told {
  char worker[40];
  const char *device; /* its id; "": one that we do not have; NULL: it did not say */
  uint64_t bytes;
};

struct worker_relief {
  worker_relief_fn *models;
  struct relieving devices[VIEW_DEVICES];
  struct worker_list believed;          /* what is to be expected of them; under the state lock */
  struct told told[VIEW_OPPORTUNITIES]; /* the same */
  uint32_t told_count;
};

/* ---- one worker ---- */

static void job_done(struct job_waiter *waiter) {
  struct relieving *r = (struct relieving *)((char *)waiter - offsetof(struct relieving, waiter));
  queue_post_at(r->service->decision, &r->hop, 0);
}

/* True: it is over already, or there is none. */
static bool wait_for(struct relieving *r, struct job *job, enum phase phase) {
  r->phase = phase;
  r->job = job;
  r->waiter.ready = job_done;
  return !job || !job_wait(job, &r->waiter);
}

/* True: the job that was waited for is over, and given back. */
static bool take_job(struct relieving *r) {
  struct job_view view = {.state = JOB_COMPLETED};
  if (r->job)
    job_look(r->job, &view);
  if (view.state < JOB_COMPLETED)
    return false;
  job_give(r->job);
  r->job = NULL;
  return true;
}

/* NULL: nothing more is wanted, or it cannot be asked. */
static struct job *ask(const struct relieving *r) {
  struct service *s = r->service;
  lock_take(&s->lock);
  uint64_t wanted = state_excess(s, &s->devices[r->device], s->models->relief.target);
  const struct worker_ask how = {.worker = r->list.rows[r->list.at].name,
                                 .device = r->device,
                                 .promised = units_min(r->list.rows[r->list.at].promised, wanted),
                                 .limit_ms = WORKER_RELIEF_LIMIT_MS,
                                 .target_percent = s->models->relief.target / 100,
                                 .want = {.bytes = wanted,
                                          .deadline_ms = WORKER_RELIEF_DEADLINE_MS,
                                          .max_models = UINT64_MAX,
                                          .strategy = s->models->relief.strategy}};
  lock_give(&s->lock);
  return wanted ? worker_optimize_ask(s, &model_relief_caller, &how) : NULL;
}

/* ---- the whole of it ---- */

static void set_running(struct relieving *r, bool running) {
  LOCK_SCOPE(&r->service->lock);
  r->running = running;
}

/* True: go on at once. */
static bool ask_or_turn(struct relieving *r) {
  struct service *s = r->service;
  struct job *job = r->list.at < r->list.count ? ask(r) : NULL;
  if (job)
    return wait_for(r, job, PHASE_WAIT);
  r->list.at = r->list.count; /* whoever is left of this turn is not needed */
  if (!r->last)
    return wait_for(r, s->worker_relief->models(s, r->device), PHASE_MODELS);
  set_running(r, false);
  r->phase = PHASE_NONE;
  return false;
}

/* A worker has given what it gives, or the models have. True: go on at once. */
static bool go_on(struct relieving *r) {
  if (!take_job(r))
    return false;
  if (r->phase == PHASE_WAIT) {
    r->list.at++;
  } else {
    r->last = true;
    worker_list_add(r->service, &r->list, true);
  }
  r->phase = PHASE_ASK;
  return true;
}

/* Until something has to be waited for. */
static void step(struct task *task) {
  struct relieving *r = (struct relieving *)task;
  for (bool goes_on = r->phase != PHASE_NONE; goes_on;)
    goes_on = r->phase == PHASE_ASK ? ask_or_turn(r) : go_on(r);
}

void worker_relief_start(struct service *s, uint32_t device) {
  struct relieving *r = &s->worker_relief->devices[device];
  if (r->phase != PHASE_NONE || !s->mover)
    return;
  r->service = s;
  r->device = device;
  r->hop.run = step;
  r->last = false;
  r->list.count = r->list.at = 0;
  r->phase = PHASE_ASK;
  set_running(r, true);
  worker_list_add(s, &r->list, false);
  step(&r->hop);
}

void worker_relief_look(struct service *s) {
  struct worker_relief *all = s->worker_relief;
  struct worker_list believed = {.count = 0};
  struct worker_offer offers[VIEW_OPPORTUNITIES];
  worker_list_add(s, &believed, false);
  uint32_t count = worker_optimize_offers(s, offers, VIEW_OPPORTUNITIES);
  LOCK_SCOPE(&s->lock);
  all->believed = believed;
  all->told_count = count;
  for (uint32_t i = 0; i < count; i++) {
    const struct view_opportunity *said = &offers[i].said;
    struct told *told = &all->told[i];
    memcpy(told->worker, said->worker, sizeof told->worker);
    told->device = offers[i].device_id ? offers[i].device_id : said->device[0] ? "" : NULL;
    told->bytes = offers[i].expected_bytes;
  }
}

bool worker_relief_may_give(const struct service *s, uint32_t device) {
  const struct worker_relief *all = s->worker_relief;
  return all->devices[device].running ||
         (worker_relief_promised(s) && !s->models->relieved[device]);
}

uint64_t worker_relief_promised(const struct service *s) {
  return s->worker_relief ? worker_list_expected(&s->worker_relief->believed) : 0;
}

/* Of what is expected of a worker; all of it where it does not say on which device that is. */
static uint64_t expected_on(const struct service *s, uint32_t device, const char *worker,
                            uint64_t expected) {
  const struct worker_relief *all = s->worker_relief;
  uint64_t here = 0;
  bool says = false;
  for (uint32_t i = 0; i < all->told_count; i++) {
    const struct told *told = &all->told[i];
    if (strcmp(told->worker, worker) != 0)
      continue;
    if (!told->device)
      return expected;
    says = true;
    if (!strcmp(told->device, s->devices[device].info->id))
      here += units_min(told->bytes, expected);
  }
  return says ? units_min(here, expected) : expected;
}

void worker_relief_name(const struct service *s, uint32_t device, struct problem_space *space) {
  if (!s->worker_relief)
    return;
  const struct worker_list *list = &s->worker_relief->believed;
  for (uint32_t i = 0; i < list->count; i++) {
    uint64_t bytes = expected_on(s, device, list->rows[i].name, list->rows[i].expected);
    if (!bytes || space->worker_count == sizeof space->workers / sizeof *space->workers)
      continue;
    memcpy(space->workers[space->worker_count].name, list->rows[i].name, sizeof list->rows[i].name);
    space->workers[space->worker_count++].bytes = bytes;
  }
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
