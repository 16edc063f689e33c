/*
 * model_move: plan-copy-commit like a transfer of an allocation, with all parts of a model. A move
 * gives its weights a new copy, and the switch is the model's record, which names its home: until
 * then a restart finds the model where it was, and from then on where it is. A copy makes weights
 * and a model of its own. What is left behind in host memory by a move from card to card is the
 * model's copy there, as before.
 */
#include "service/model_move.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/choice.h"
#include "service/effects.h"
#include "service/model_record.h"
#include "service/model_table.h"
#include "service/recorder.h"
#include "service/strain.h"
#include "service/transfer.h"
#include "service/waiting.h"
#include "service/work_impact.h"

static enum models_copy copy_on(const struct service *s, uint32_t device) {
  return s->devices[device].info->host_memory ? MODELS_RAM : MODELS_CARD;
}

/* ---- checks ---- */

/* A job that copies from or to one of its allocations. */
static bool is_used(const struct service *s, const struct models_weights *weights) {
  bool used = false;
  for (uint32_t i = 0; i < weights->part_count; i++)
    for (unsigned copy = 0; copy < MODELS_COPIES; copy++) {
      uint32_t index = idmap_find(&s->alloc_ids, weights->parts[i].at[copy]);
      used |= index && state_alloc(s, index)->busy;
    }
  return used;
}

static enum status check_move(const struct service *s, const struct models_model *model,
                              struct problem *problem) {
  if (models_attachments(s, model->weights) || is_used(s, model->weights))
    return problem_set(problem, STATUS_MODEL_BUSY,
                       "%.100s is attached by somebody and cannot be moved; a copy can be made",
                       model->name);
  if (models_pinned(s, model->weights))
    return problem_set(problem, STATUS_CONFLICT, "%.100s is pinned and cannot be moved",
                       model->name);
  return STATUS_OK;
}

static enum status check(const struct service *s, const struct model_move *move,
                         const struct models_model *model, struct problem *problem) {
  const struct models_weights *weights = model->weights;
  if (move->caller->role != CALLER_ADMIN && move->caller->domain != model->domain)
    return problem_set(problem, STATUS_FORBIDDEN, "%.100s was loaded by another domain",
                       model->name);
  if (model->work || (weights && weights->work))
    return problem_set(problem, STATUS_MODEL_BUSY, "%.100s is being worked on", model->name);
  if (!weights || models_state(s, model) != MODEL_READY)
    return problem_set(problem, STATUS_MODEL_BUSY, "%.100s is not in memory now: load it first",
                       model->name);
  if (weights->home != move->source)
    return problem_set(problem, STATUS_CONFLICT, "%.100s is on %s, not on %s", model->name,
                       s->devices[weights->home].info->id, s->devices[move->source].info->id);
  return move->params->mode ? check_move(s, model, problem) : STATUS_OK;
}

/* The name of a copy, "NAME@DEVICE". */
static enum status name_copy(const struct service *s, const struct model_move *move,
                             const struct models_model *model, char name[MODEL_NAME],
                             struct problem *problem) {
  int n = snprintf(name, MODEL_NAME, "%s@%s", model->name, s->devices[move->target].info->id);
  if (n >= MODEL_NAME)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "modelId",
                         "the copy's name would be longer than %d bytes", MODEL_NAME - 1);
  uint32_t index = models_find_name(s, name);
  const struct models_model *other = models_at(s, index);
  if (index && (other->work || other->weights || strcmp(other->path, model->path) != 0))
    return problem_set(problem, STATUS_CONFLICT, "there is a model %.100s already", name);
  return STATUS_OK;
}

/* Whether the copy in host memory is where the model shall be. */
static bool is_there(const struct service *s, const struct model_move *move,
                     const struct models_weights *weights) {
  return move->params->mode && models_device_of(s, weights, MODELS_RAM) == move->target;
}

static enum status check_space(struct service *s, const struct model_move *move, uint64_t need,
                               struct problem *problem) {
  const struct state_device *device = &s->devices[move->target];
  char size[32], available[32];
  if (choice_configured(device, problem))
    return problem->status;
  bool held = waiting_held(s, move->params->priority) >> move->target & 1;
  if (need && strain_keeps_out(s, move->target, move->params->priority)) {
    strain_met(s, move->target);
    return strain_refuse(s, move->target, need, problem);
  }
  if (!need || (need <= state_available(s, device) && !held))
    return STATUS_OK;
  units_format(need, size, sizeof size);
  units_format(state_available(s, device), available, sizeof available);
  enum status status =
      need > device->limit ? STATUS_ALLOCATION_TOO_LARGE : STATUS_INSUFFICIENT_MEMORY;
  problem_set(problem, status, "%s does not fit: %s has %s available", size, device->info->id,
              available);
  problem->has_space = true;
  state_space_problem(s, device, need, &problem->space);
  return status;
}

/* ---- start ---- */

struct start {
  const struct model_move *move;
  struct models_model *model;
  struct models_weights *weights; /* that are worked on: the copy's, when there is one */
  uint32_t made;                  /* the copy, 0: none, or it was listed before */
  uint64_t id;                    /* of the model that will be there */
  char name[MODEL_NAME];
};

static bool copy_parts(const struct models_weights *from, struct models_weights *to) {
  bool whole = true;
  for (uint32_t i = 0; i < from->part_count; i++) {
    to->parts[i].size = from->parts[i].size;
    to->parts[i].pad = from->parts[i].pad;
    to->parts[i].identity = from->parts[i].identity;
    to->parts[i].name = strdup(from->parts[i].name);
    whole &= to->parts[i].name != NULL;
  }
  return whole;
}

/* Weights like the model's, without a copy yet. NULL: no memory. */
static struct models_weights *like(struct service *s, const struct start *start, uint32_t owner) {
  const struct models_weights *from = start->model->weights;
  void *image = from->image ? malloc(from->image_bytes) : NULL;
  struct models_new new = {.id = start->id,
                           .owner = owner,
                           .home = start->move->target,
                           .part_count = from->part_count,
                           .image = image,
                           .image_bytes = from->image_bytes};
  bool room = owner && (image || !from->image);
  struct models_weights *weights = room ? models_weights_new(s, &new) : NULL;
  if (!weights) {
    free(image);
    return NULL;
  }
  if (image)
    memcpy(image, from->image, from->image_bytes);
  if (copy_parts(from, weights))
    return weights;
  models_weights_forget(s, weights);
  return NULL;
}

/* What was made for a second model that will not be. */
static void forget(struct service *s, const struct start *start, uint32_t owner) {
  if (owner) {
    state_owner(s, owner)->dead = true;
    space_owner_done(s, owner);
  }
  if (start->made)
    models_remove(s, start->made);
}

/* A model of the copy's name, with weights. False: no room, and nothing was made. */
static bool make_second(struct service *s, struct start *start) {
  uint32_t index = models_find_name(s, start->name);
  start->id = index ? models_at(s, index)->id : ledger_next_id(s->ledger);
  if (!index)
    index = start->made = models_add(s, start->id, start->name, start->model->path);
  uint32_t owner = index ? state_owner_of(s, start->move->caller, 0, start->id) : 0;
  start->weights = like(s, start, owner);
  if (!start->weights) {
    forget(s, start, owner);
    return false;
  }
  snprintf(state_owner(s, owner)->name, sizeof state_owner(s, owner)->name, "%s", start->name);
  struct models_model *second = models_at(s, index);
  second->weights = start->weights;
  second->facts = start->model->facts;
  second->domain = start->move->caller->domain;
  second->priority = start->model->priority;
  second->keep_alive_seconds = start->model->keep_alive_seconds;
  memcpy(second->worker, start->model->worker, sizeof second->worker);
  return true;
}

static void unmake_second(struct service *s, struct start *start) {
  uint32_t index = idmap_find(&s->models->ids, start->id);
  uint32_t owner = start->weights->owner;
  models_at(s, index)->weights = NULL;
  models_weights_forget(s, start->weights);
  forget(s, start, owner);
}

static struct job *make_job(struct service *s, const struct start *start) {
  const struct model_move *move = start->move;
  const struct state_device *source = &s->devices[move->source],
                            *target = &s->devices[move->target];
  struct job_transfer state = {.model = start->model->id,
                               .target_model = move->params->mode ? start->model->id : 0,
                               .move = move->params->mode,
                               .verify = move->params->verify,
                               .size_bytes = start->model->facts.size};
  snprintf(state.source_device, SPEC_ID, "%s", source->info->id);
  snprintf(state.target_device, SPEC_ID, "%s", target->info->id);
  return job_make(s, &(struct job_params){.kind = JOB_TRANSFER,
                                          .caller = move->caller,
                                          .id = ledger_next_id(s->ledger),
                                          .bytes_total = state.size_bytes,
                                          .cancellable = true,
                                          .transfer = &state,
                                          .record = {.key = {move->key[0], move->key[1]},
                                                     .key_args = move->key_args,
                                                     .source = source->record,
                                                     .target = target->record}});
}

static void tell_transfer(struct service *s, const struct model_work *work, enum events_type type) {
  struct events_record event = {.type = (uint8_t)type,
                                .subject = job_id(work->job),
                                .device = (uint8_t)(work->source + 1),
                                .other_device = (uint8_t)(work->target + 1)};
  struct job_view view;
  job_look(work->job, &view);
  event.bytes = view.result.transfer.size_bytes;
  events_set_text(&event, job_correlation(work->job));
  events_add(s->events, &event);
  if (type != EVENTS_TRANSFER_STARTED)
    recorder_transfer(s, work->job, &event);
}

/* What comes and what goes. False: no memory. */
static bool aim(struct service *s, struct model_work *work) {
  struct models_weights *weights = work->weights;
  enum models_copy from = copy_on(s, work->source), to = copy_on(s, work->target);
  bool there = work->moving && models_device_of(s, weights, MODELS_RAM) == work->target;
  work->from = from;
  work->takes[to] = !there;
  work->devices[to] = work->target;
  work->gives[from] = work->moving && from != to;
  work->moves_table = work->moving && to == MODELS_RAM;
  if (!work->takes[to] || !weights->has[to])
    return true;
  work->former = calloc(weights->part_count, sizeof *work->former);
  return work->former != NULL;
}

static void go(struct task *task) {
  struct model_work *work = model_work_of_hop(task);
  if (work->problem.status) {
    model_work_fail(work);
    return;
  }
  if (work->takes[MODELS_RAM] || work->takes[MODELS_CARD]) {
    model_work_make(work);
    return;
  }
  job_running(work->job);
  model_table_make(work);
}

/* The work of a job that is there; NULL: no memory. */
static struct model_work *make_work(struct service *s, const struct start *start, struct job *job) {
  const struct model_move *move = start->move;
  struct model_work *work = model_work_adopt(s, job, move->caller, start->weights);
  if (!work)
    return NULL;
  work->model = start->id;
  work->transfers = true;
  work->moving = move->params->mode;
  work->source = move->source;
  work->target = move->target;
  work->params.verify = move->params->verify;
  if (work->moving)
    return work;
  struct models_model *second = models_at(s, idmap_find(&s->models->ids, start->id));
  second->work = work;
  second->leaving = false;
  work->fresh = start->made;
  work->origin = start->model->weights;
  work->origin->work = work;
  work->origin->lent = true;
  space_owner_hold(s, work->origin->owner);
  return work;
}

/* `bytes` come to the target. */
static enum status launch(struct service *s, struct start *start, uint64_t bytes,
                          struct work_started *out, struct problem *problem) {
  bool copies = !start->move->params->mode;
  if (copies && !make_second(s, start))
    return problem_set(problem, STATUS_RATE_LIMITED, "there are %d models: unload some", MODEL_MAX);
  struct job *job = make_job(s, start);
  struct model_work *work = job ? make_work(s, start, job) : NULL;
  if (!work) {
    if (job)
      job_forget(job);
    if (copies)
      unmake_second(s, start);
    return problem_set(problem, STATUS_RATE_LIMITED, "too many jobs are under way");
  }
  out->job = job_keep(job);
  effects_begin(s, job,
                &(struct effects_of){.target = start->move->target,
                                     .bytes = bytes,
                                     .weights = start->model->weights});
  tell_transfer(s, work, EVENTS_TRANSFER_STARTED);
  if (!aim(s, work))
    problem_set(&work->problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  model_work_hop(work, go);
  return STATUS_OK;
}

enum status model_move_start(struct service *s, const struct model_move *move,
                             struct work_started *out, struct problem *problem) {
  uint32_t index = models_find(s, move->params->model);
  if (!index) {
    problem_set(problem, STATUS_MODEL_NOT_FOUND, "no model %.60s", move->params->model);
    snprintf(problem->subject, sizeof problem->subject, "%.60s", move->params->model);
    return STATUS_MODEL_NOT_FOUND;
  }
  struct models_model *model = models_at(s, index);
  struct start start = {move, model, model->weights, 0, model->id, ""};
  enum status status = check(s, move, model, problem);
  if (!status && !move->params->mode)
    status = name_copy(s, move, model, start.name, problem);
  if (status)
    return status;
  uint64_t need =
      is_there(s, move, model->weights) ? 0 : models_bytes_on(s, model->weights, move->target);
  if (!move->params->dry_run) {
    status = check_space(s, move, need, problem);
    return status ? status : launch(s, &start, need, out, problem);
  }
  uint64_t goes = move->params->mode ? models_bytes_on(s, model->weights, move->source) : 0;
  out->impact =
      work_impact_foretell(s, &(struct work_impact_of){.source = move->source,
                                                       .target = move->target,
                                                       .size = model->facts.size,
                                                       .comes = need,
                                                       .priority = move->params->priority,
                                                       .goes = goes,
                                                       .weights = model->weights,
                                                       .moves_model = move->params->mode});
  out->impact.attachments = models_attachments(s, model->weights);
  return STATUS_OK;
}

/* ---- on the way ---- */

static void set_shipped(struct job_view *view, void *arg) {
  const struct model_work *work = arg;
  struct job_transfer *result = &view->result.transfer;
  result->path = work->task.path;
  result->path_known = work->task.path_known;
  result->verified = result->verified_known = work->params.verify;
  result->checksum = work->task.checksum;
  result->checksum_known = work->task.checksum_known && work->weights->part_count == 1;
}

void model_move_shipped(struct model_work *work) {
  job_update(work->job, set_shipped, work);
  LOCK_SCOPE(&work->service->lock);
  transfer_measure(work->service, work->source, work->target, work->moves[0].size, work->read_ns);
}

static void set_target(struct job_view *view, void *arg) {
  view->result.transfer.target_model = *(const uint64_t *)arg;
}

/* By rising id: the first record is the one that a restart goes by. */
static void settle_names(struct service *s, const struct model_work *work) {
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry; entry = idmap_next(&s->models->ids, entry->id)) {
    struct models_model *model = models_at(s, entry->value);
    if (model->weights != work->weights)
      continue;
    model->home = work->target;
    model_record_write(s, entry->value);
  }
}

void model_move_commit(struct model_work *work) {
  struct service *s = work->service;
  uint32_t index = idmap_find(&s->models->ids, work->model);
  job_update(work->job, set_target, &work->model);
  job_promise(work->job);
  policy_moved(&s->models->clocks[work->weights->home], &s->models->clocks[work->target],
               &work->weights->credit);
  work->weights->home = work->target;
  if (!work->moving)
    models_at(s, index)->loaded_at = clock_real();
  models_touch(s, index);
  settle_names(s, work);
}

void model_move_tell(struct model_work *work) {
  struct service *s = work->service;
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry && !work->problem.status; entry = idmap_next(&s->models->ids, entry->id))
    if (models_at(s, entry->value)->weights == work->weights)
      models_event(s, entry->value, EVENTS_MODEL_READY, job_correlation(work->job));
}

void model_move_ended(struct model_work *work) {
  enum status status = work->problem.status;
  lock_take(&work->service->lock);
  effects_end(work->service, work->job);
  lock_give(&work->service->lock);
  tell_transfer(work->service, work,
                status == STATUS_OK          ? EVENTS_TRANSFER_COMPLETED
                : status == STATUS_CANCELLED ? EVENTS_TRANSFER_CANCELLED
                                             : EVENTS_TRANSFER_FAILED);
}
