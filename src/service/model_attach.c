/*
 * model_attach: a model is attached by attaching the allocation of each of its files, read-only, so
 * that all that holds for attachments holds for it: it stays while one is left, they end with their
 * connection, and they outlive a restart.
 */
#include <stdio.h>
#include <stdlib.h>

#include "service/attach.h"
#include "service/models.h"

struct wanted {     /* what to attach, in order */
  const char *name; /* the model's, or its id */
  bool ram;         /* the copy in host memory, or none */
  uint64_t *allocations;
  uint32_t count, index;
};

static enum status no_model(const char *name, struct problem *problem) {
  problem_set(problem, STATUS_MODEL_NOT_FOUND, "no model %.60s", name);
  snprintf(problem->subject, sizeof problem->subject, "%.60s", name);
  return STATUS_MODEL_NOT_FOUND;
}

static enum status not_resident(const struct models_model *model, struct problem *problem) {
  return problem_set(problem, STATUS_MODEL_BUSY, "%.100s is not in memory now: load it first",
                     model->name);
}

/* Under the lock. */
static enum status judge(const struct service *s, const struct models_model *model, bool ram,
                         struct problem *problem) {
  enum model_state state = models_state(s, model);
  if (state != MODEL_READY && !(ram && state == MODEL_PARKED))
    return not_resident(model, problem);
  if (model->weights->work && !model->weights->lent)
    return problem_set(problem, STATUS_MODEL_BUSY, "%.100s is being worked on", model->name);
  if (ram && !model->weights->has[MODELS_RAM])
    return problem_set(problem, STATUS_MODEL_BUSY,
                       "%.100s is on its card only, without a copy in host memory", model->name);
  if (!model->weights->image)
    return problem_set(problem, STATUS_MODEL_BUSY,
                       "the table of tensors of %.100s did not outlive the daemon: unload it and "
                       "load it again",
                       model->name);
  return STATUS_OK;
}

/* Under the lock: the allocations of the copy that is used: the card's, else the one in RAM. */
static enum status list_parts(struct service *s, struct model_attached *out, struct wanted *wanted,
                              struct problem *problem) {
  wanted->index = models_find(s, wanted->name);
  if (!wanted->index)
    return no_model(wanted->name, problem);
  const struct models_model *model = models_at(s, wanted->index);
  struct models_weights *weights = model->weights;
  enum status status = judge(s, model, wanted->ram, problem);
  if (status)
    return status;
  unsigned copy = weights->has[MODELS_CARD] && !wanted->ram ? MODELS_CARD : MODELS_RAM;
  wanted->count = weights->part_count;
  wanted->allocations = calloc(wanted->count, sizeof *wanted->allocations);
  out->pieces = calloc(wanted->count, sizeof *out->pieces);
  if (!wanted->allocations || !out->pieces)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  for (uint32_t i = 0; i < wanted->count; i++) {
    wanted->allocations[i] = weights->parts[i].at[copy];
    snprintf(out->pieces[i].name, sizeof out->pieces[i].name, "%s", weights->parts[i].name);
  }
  out->id = model->id;
  out->image = weights->image;
  out->image_bytes = weights->image_bytes;
  out->service = s;
  out->held = weights;
  models_weights_read(weights);
  return STATUS_OK;
}

/* The next one. */
static enum status attach_part(struct service *s, const struct caller *caller, uint64_t allocation,
                               struct model_attached *model, struct problem *problem) {
  struct model_piece *out = &model->pieces[model->count];
  struct attach_made made;
  enum status status =
      attach_begin(s, caller, &(struct attach_want){.allocation = allocation, .read_only = true},
                   &made, problem);
  if (status)
    return status;
  out->allocation = made.allocation;
  out->segment = made.segment;
  out->offset_bytes = made.offset_bytes;
  out->size_bytes = made.size_bytes;
  out->kind = made.kind;
  out->share = made.share;
  model->device_id = made.device_id;
  model->count++;
  return STATUS_OK;
}

static void undo(struct service *s, const struct caller *caller, const struct model_attached *out) {
  uint32_t left;
  struct problem ignored;
  for (uint32_t i = 0; i < out->count; i++)
    (void)attach_end(s, caller, out->pieces[i].allocation, &left, &ignored);
}

/* It may have begun to leave between two parts; from the first on nobody takes it but by force. */
static enum status confirm(struct service *s, const struct wanted *wanted,
                           const struct model_attached *made, enum status status,
                           struct problem *problem) {
  LOCK_SCOPE(&s->lock);
  const struct models_model *model = models_at(s, wanted->index);
  if (status == STATUS_ALLOCATION_NOT_FOUND ||
      (!status && (model->weights != made->held || (made->held->work && !made->held->lent))))
    return not_resident(model, problem);
  if (!status)
    models_touch_attached(s, wanted->index);
  return status;
}

/* Of the copy that `wanted` says. */
static enum status attach_copy(struct service *s, const struct caller *caller, struct wanted wanted,
                               struct model_attached *out, struct problem *problem) {
  struct model_attached made = {0};
  lock_take(&s->lock);
  enum status status = list_parts(s, &made, &wanted, problem);
  lock_give(&s->lock);
  while (!status && made.count < wanted.count)
    status = attach_part(s, caller, wanted.allocations[made.count], &made, problem);
  if (made.held)
    status = confirm(s, &wanted, &made, status, problem);
  free(wanted.allocations);
  if (status) {
    undo(s, caller, &made);
    model_attach_free(&made);
    return status;
  }
  *out = made;
  return STATUS_OK;
}

enum status model_attach(struct service *s, const struct caller *caller, const char *id_or_name,
                         struct model_attached *out, struct problem *problem) {
  return attach_copy(s, caller, (struct wanted){.name = id_or_name}, out, problem);
}

enum status model_attach_ram(struct service *s, const struct caller *caller, const char *id_or_name,
                             struct model_attached *out, struct problem *problem) {
  return attach_copy(s, caller, (struct wanted){.name = id_or_name, .ram = true}, out, problem);
}

void model_attach_free(struct model_attached *attached) {
  for (uint32_t i = 0; i < attached->count; i++)
    share_close(&attached->pieces[i].share);
  free(attached->pieces);
  if (!attached->held)
    return;
  LOCK_SCOPE(&attached->service->lock);
  models_weights_read_end(attached->held);
}

/* Under the lock: its allocations, of either copy. */
static enum status list_all(struct service *s, const char *name, struct model_detached *out,
                            struct wanted *wanted, struct problem *problem) {
  uint32_t index = models_find(s, name);
  if (!index)
    return no_model(name, problem);
  const struct models_weights *weights = models_at(s, index)->weights;
  uint32_t n = weights ? weights->part_count : 0;
  *out = (struct model_detached){.model = models_at(s, index)->id};
  wanted->allocations = calloc((size_t)n * MODELS_COPIES + 1, sizeof *wanted->allocations);
  if (!wanted->allocations)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  for (uint32_t i = 0; i < n; i++)
    for (unsigned copy = 0; copy < MODELS_COPIES; copy++)
      if (weights->parts[i].at[copy])
        wanted->allocations[wanted->count++] = weights->parts[i].at[copy];
  return STATUS_OK;
}

enum status model_attach_end(struct service *s, const struct caller *caller, const char *id_or_name,
                             struct model_detached *out, struct problem *problem) {
  struct wanted wanted = {0};
  struct problem ignored;
  uint32_t ended = 0, left = 0;
  lock_take(&s->lock);
  enum status status = list_all(s, id_or_name, out, &wanted, problem);
  lock_give(&s->lock);
  for (uint32_t i = 0; !status && i < wanted.count; i++) {
    if (attach_end(s, caller, wanted.allocations[i], &left, &ignored))
      continue;
    ended++;
    out->attachments = left;
  }
  free(wanted.allocations);
  if (status || ended)
    return status;
  return problem_set(problem, STATUS_CONFLICT, "the model is not attached to this connection");
}
