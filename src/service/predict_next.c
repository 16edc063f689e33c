/*
 * predict_next: one load at a time. Who comes next is looked at when somebody was asked for and
 * when the load before has ended.
 */
#include "service/predict_next.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/models.h"
#include "service/predict_act.h"

#define NEXT_NEW_NS (30 * CLOCK_SECOND) /* so long a request says who may come next */

struct choice {
  struct caller caller;
  struct model_load params;
  struct predict_act act;
  uint64_t request; /* as the table counts them */
};

/* Where it would be: its home, or for a card's model the host memory with most room. VIEW_DEVICES:
 * there is none, or too little. */
static uint32_t place_for(const struct service *s, const struct models_model *model) {
  uint32_t best = VIEW_DEVICES;
  bool host = s->devices[model->home].info->host_memory;
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    uint64_t available = state_available(s, device);
    if (!device->info->host_memory || device->gone || (host && i != model->home) ||
        device->pressure.level != PRESSURE_LOW || available < model->facts.size ||
        available - model->facts.size < device->limit / 10)
      continue;
    if (best == VIEW_DEVICES || available > state_available(s, &s->devices[best]))
      best = i;
  }
  return best;
}

static bool can_come(const struct service *s, const struct models_model *model) {
  return !model->weights && !model->work && !model->error.status && model->path && model->path[0] &&
         model->facts.size && model->home < s->device_count && s->devices[model->home].answering &&
         !s->devices[model->home].gone;
}

/* In the name of the domain whose model it is: its quota counts. */
static void act_for(const struct service *s, uint32_t domain, struct caller *caller) {
  *caller = (struct caller){.role = CALLER_ADMIN, .domain = domain, .correlation = "prediction"};
  for (uint32_t i = 0; i < s->domain_count; i++)
    if (s->domains[i].number == domain)
      memcpy(caller->domain_name, s->domains[i].name, sizeof caller->domain_name);
}

/* Under the lock. False: nobody. */
static bool choose(struct service *s, struct choice *out) {
  const struct successor_table *table = &s->predict->next.successors;
  struct successor found = successor_after(table, table->last);
  uint32_t index = found.id ? models_find_hash(s, found.id) : 0;
  const struct models_model *model = index ? models_at(s, index) : NULL;
  if (!model || s->predict->next.acted_for == table->seen || model->id == s->predict->next.failed ||
      found.confidence < SUCCESSOR_SURE || !predict_act_may(s, PREDICT_PREFETCH) ||
      !can_come(s, model) || place_for(s, model) == VIEW_DEVICES)
    return false;
  act_for(s, model->domain, &out->caller);
  out->request = table->seen;
  out->params = MODEL_LOAD_DEFAULT;
  out->params.ahead = true;
  out->params.evict = false;
  out->params.keeps.priority = out->params.keeps.pinned = out->params.keeps.keep_alive = true;
  snprintf(out->params.path, sizeof out->params.path, "%s", model->path);
  snprintf(out->params.name, sizeof out->params.name, "%s", model->name);
  snprintf(out->params.device, sizeof out->params.device, "%s", s->devices[model->home].info->id);
  out->act = (struct predict_act){.kind = PREDICT_PREFETCH,
                                  .device = model->home,
                                  .bytes = model->facts.size,
                                  .until_ns = clock_now() + PREDICT_ACT_ASKED_NS,
                                  .models = {model->id},
                                  .model_count = 1,
                                  .others = PREDICT_ACT_OTHERS,
                                  .confidence = (uint32_t)(found.confidence * 10000)};
  return true;
}

static void begin(struct predict_next *next, struct choice *choice) {
  struct service *s = next->service;
  struct model_started started;
  struct problem problem;
  if (model_load_start(s, &choice->caller, &choice->params, &started, &problem) || !started.job)
    return;
  lock_take(&s->lock);
  next->act = predict_act_begin(s, &choice->act);
  next->acted_for = choice->request;
  lock_give(&s->lock);
  next->job = started.job;
  if (!job_wait(next->job, &next->waiter))
    next->waiter.ready(&next->waiter);
}

/* True: none is under way any more. */
static bool is_over(struct predict_next *next) {
  struct service *s = next->service;
  struct job_view view;
  if (!next->job)
    return true;
  job_look(next->job, &view);
  if (view.state < JOB_COMPLETED)
    return false;
  job_give(next->job);
  next->job = NULL;
  LOCK_SCOPE(&s->lock);
  next->failed = view.state == JOB_COMPLETED ? 0 : view.result.model.model;
  if (next->failed)
    predict_act_forget(s, next->act);
  return true;
}

static void look(struct task *task) {
  struct predict_next *next =
      (struct predict_next *)((char *)task - offsetof(struct predict_next, hop));
  struct service *s = next->service;
  struct choice *choice = is_over(next) ? calloc(1, sizeof *choice) : NULL;
  if (!choice)
    return;
  lock_take(&s->lock);
  bool any = choose(s, choice);
  lock_give(&s->lock);
  if (any)
    begin(next, choice);
  free(choice);
}

static void loaded(struct job_waiter *waiter) {
  struct predict_next *next =
      (struct predict_next *)((char *)waiter - offsetof(struct predict_next, waiter));
  queue_post(next->service->decision, &next->hop);
}

void predict_next_look(struct predict_next *next) {
  const struct service *s = next->service;
  if (next->asked_ns && units_minus(clock_now(), next->asked_ns) < NEXT_NEW_NS &&
      next->acted_for != next->successors.seen && predict_act_may(s, PREDICT_PREFETCH))
    queue_post(s->decision, &next->hop);
}

/* ---- what was before ---- */

static void replay(struct successor_table *table, const uint64_t *uses, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    if (uses[i])
      successor_add(table, uses[i]);
    else
      table->last = 0;
}

/* Under the lock. Should the disk have hung for long, what was learned meanwhile is worth more. */
static void take_over(struct predict_next *next, struct successor_table *table) {
  table->last = next->successors.last;
  if (table->seen <= next->successors.seen)
    return;
  if (next->acted_for == next->successors.seen)
    next->acted_for = table->seen;
  next->successors = *table;
}

static void learn(struct task *task) {
  struct predict_next *next =
      (struct predict_next *)((char *)task - offsetof(struct predict_next, learn));
  struct service *s = next->service;
  struct successor_table *table = calloc(1, sizeof *table);
  uint64_t *uses = calloc(PREDICT_NEXT_LEARNED, sizeof *uses);
  if (table && uses) {
    replay(table, uses, history_uses(s->history, uses, PREDICT_NEXT_LEARNED));
    LOCK_SCOPE(&s->lock);
    take_over(next, table);
  }
  free(table);
  free(uses);
}

void predict_next_learn(struct predict_next *next) {
  history_use(next->service->history, clock_real(), 0); /* who comes now follows nobody */
  next->learn.run = learn;
  history_post(next->service->history, &next->learn);
}

void predict_next_init(struct predict_next *next, struct service *s) {
  next->service = s;
  next->hop.run = look;
  next->waiter.ready = loaded;
}
