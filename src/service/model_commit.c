/*
 * model_commit: an allocation for each part, then the model's record, which says where its home is:
 * until that one is live a restart takes the copy that was there before, and gives the new one
 * back.
 */
#include "service/model_commit.h"

#include "base/clock.h"
#include "base/units.h"
#include "service/model_estimate.h"
#include "service/model_give.h"
#include "service/model_move.h"
#include "service/model_record.h"
#include "service/model_table.h"
#include "service/record.h"

/* A file's place on a card is where its weights begin well. */
static uint64_t alignment_of(const struct space *place) {
  return UINT64_C(1) << __builtin_ctzll(place->offset | MODEL_WORK_ALIGNMENT);
}

static enum status commit_part(struct model_work *work, unsigned copy, uint32_t part) {
  struct service *s = work->service;
  struct models_weights *weights = work->weights;
  const struct models_model *model = models_at(s, idmap_find(&s->models->ids, work->model));
  uint64_t *at = &weights->parts[part].at[copy];
  struct record_facts facts = {.size = units_max(weights->parts[part].size, 1),
                               .alignment = alignment_of(&work->places[copy][part]),
                               .owner = weights->owner,
                               .purpose = VIEW_MODEL_WEIGHTS,
                               .priority = model->priority,
                               .flags = STATE_PINNED | STATE_SHARE_READ | STATE_MODEL,
                               .label = weights->parts[part].name,
                               .correlation = job_correlation(work->job)};
  uint32_t index;
  enum status status = record_commit(s, &work->places[copy][part], &facts, &index);
  if (status)
    return status;
  work->places[copy][part] = (struct space){.node = MODEL_WORK_RECORDED};
  if (work->former)
    work->former[part] = *at;
  *at = state_alloc(s, index)->id;
  return STATUS_OK;
}

/* Under the lock: the first parts, which were recorded of a copy that is not whole, go. */
static void take_back(struct model_work *work, unsigned copy, uint32_t parts) {
  struct service *s = work->service;
  for (uint32_t i = 0; i < parts; i++) {
    uint64_t *at = &work->weights->parts[i].at[copy];
    uint32_t index = idmap_find(&s->alloc_ids, *at);
    *at = work->former ? work->former[i] : 0;
    if (index)
      record_drop(s, index, &(struct record_end){.why = EVENTS_ALLOCATION_FREED});
  }
}

static enum status commit_copy(struct model_work *work, unsigned copy) {
  enum status status = STATUS_OK;
  uint32_t parts = 0;
  while (!status && parts < work->weights->part_count)
    if (!(status = commit_part(work, copy, parts)))
      parts++;
  if (status)
    take_back(work, copy, parts);
  else
    work->weights->has[copy] = true;
  return status;
}

static enum status commit(struct model_work *work) {
  struct service *s = work->service;
  enum status status = STATUS_OK;
  LOCK_SCOPE(&s->lock);
  uint32_t index = idmap_find(&s->models->ids, work->model);
  for (unsigned copy = 0; !status && copy < MODELS_COPIES; copy++)
    if (work->takes[copy])
      status = commit_copy(work, copy);
  if (status)
    return problem_set(&work->problem, STATUS_INSUFFICIENT_MEMORY,
                       "there is no room to record the model");
  model_table_commit(work);
  work->weights->resident_since = clock_now();
  work->weights->served = false;
  work->weights->asked = 0;
  if (work->transfers) {
    model_move_commit(work);
    return STATUS_OK;
  }
  model_estimate_end(work);
  bool home = work->weights->has[models_home_copy(s, work->weights)];
  if (!models_at(s, index)->leaving && home && !work->params.ahead) {
    models_at(s, index)->loaded_at = clock_real();
    models_touch(s, index);
  }
  model_record_write(s, index);
  return STATUS_OK;
}

/* A load that began ahead of the request for it has only come to host memory. */
static bool goes_on(struct model_work *work) {
  struct service *s = work->service;
  LOCK_SCOPE(&s->lock);
  return !work->transfers && !work->params.ahead && work->weights &&
         !models_at(s, idmap_find(&s->models->ids, work->model))->leaving &&
         !work->weights->has[models_home_copy(s, work->weights)];
}

void model_commit(struct model_work *work) {
  if (job_cancelled(work->job))
    problem_set(&work->problem, STATUS_CANCELLED, "cancelled");
  if (work->problem.status || commit(work))
    model_work_fail(work);
  else if (work->gives[MODELS_RAM] || work->gives[MODELS_CARD] || work->former)
    model_give(work);
  else if (goes_on(work))
    model_work_again(work);
  else
    model_work_end(work);
}
