/*
 * coordination: the workers' lists are copied first, so that the state lock is never held over
 * theirs; with none there is nothing to compare.
 */
#include "service/coordination.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "service/job_work.h"
#include "service/models.h"

#define COORDINATION_DIFFERENCE (UINT64_C(1) << 20) /* contract 8 */
/* Asked again before the 2 s are over after which it would not be known. */
#define COORDINATION_FRESH_NS (3 * CLOCK_SECOND / 2)

/* ---- asking ---- */

struct asking {
  struct mover_task task; /* first */
  struct job *job;
};

static void asked(struct mover_task *task) {
  struct asking *asking = (struct asking *)task;
  job_finish(asking->job, &(struct problem){.status = STATUS_OK});
  free(asking);
}

static bool all_fresh(struct service *s) {
  struct view_worker workers[VIEW_WORKERS];
  uint32_t count = service_workers(s, workers, VIEW_WORKERS);
  uint64_t now = clock_now();
  for (uint32_t i = 0; i < count; i++)
    if (workers[i].reports &&
        (!workers[i].status_ns || now > workers[i].status_ns + COORDINATION_FRESH_NS))
      return false;
  return true;
}

/* Under the state lock. */
static struct asking *make(struct service *s) {
  struct asking *asking = s->stopping ? NULL : calloc(1, sizeof *asking);
  if (!asking)
    return NULL;
  asking->job = job_make(s, &(struct job_params){.kind = JOB_REFRESH});
  if (!asking->job) {
    free(asking);
    return NULL;
  }
  asking->task = (struct mover_task){.action = MOVER_LOOK, .done = asked};
  return asking;
}

enum status coordination_fresh(struct service *s, struct job **job) {
  if (!s->mover || all_fresh(s))
    return STATUS_OK;
  lock_take(&s->lock);
  struct asking *asking = make(s);
  if (asking)
    *job = job_keep(asking->job);
  lock_give(&s->lock);
  if (!asking)
    return STATUS_OK;
  s->mover->submit(s->mover_ctx, &asking->task);
  return STATUS_PENDING;
}

/* ---- comparing ---- */

struct lists {
  struct view_worker_model *models;
  uint32_t count;
};

static bool differs(uint64_t a, uint64_t b) {
  return (a > b ? a - b : b - a) > COORDINATION_DIFFERENCE;
}

static bool is_resident(const struct service *s, const struct models_model *model) {
  return models_residency(s, model) != MODEL_ON_DISK;
}

/* Under the state lock. */
static uint32_t count_claims(const struct service *s, const struct lists *lists) {
  uint32_t conflicts = 0;
  for (uint32_t i = 0; i < lists->count; i++) {
    const struct view_worker_model *said = &lists->models[i];
    uint32_t index = models_find(s, said->model);
    const struct models_model *model = index ? models_at(s, index) : NULL;
    conflicts += !model || !is_resident(s, model) ||
                 (said->bytes_known && differs(said->bytes, model->facts.size));
  }
  return conflicts;
}

static bool names(const struct service *s, const struct lists *lists, const char *worker,
                  uint32_t index) {
  for (uint32_t i = 0; i < lists->count; i++)
    if (!strcmp(lists->models[i].worker, worker) && models_find(s, lists->models[i].model) == index)
      return true;
  return false;
}

/* Under the state lock. */
static uint32_t count_missing(const struct service *s, const struct lists *lists,
                              const char *worker) {
  uint32_t conflicts = 0;
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry; entry = idmap_next(&s->models->ids, entry->id)) {
    struct model_view model;
    models_view(s, entry->value, &model);
    conflicts += !strcmp(model.worker, worker) && model.residency != MODEL_ON_DISK &&
                 !names(s, lists, worker, entry->value);
  }
  return conflicts;
}

uint32_t coordination_conflicts(struct service *s, const struct view_worker *workers,
                                uint32_t count) {
  bool any = false;
  for (uint32_t i = 0; i < count; i++)
    any = any || workers[i].lists;
  if (!any || !s->mover->models)
    return 0;
  struct lists lists = {.models = calloc(VIEW_WORKER_MODELS, sizeof *lists.models)};
  if (!lists.models)
    return 0;
  lists.count = s->mover->models(s->mover_ctx, lists.models, VIEW_WORKER_MODELS);
  lock_take(&s->lock);
  uint32_t conflicts = count_claims(s, &lists);
  for (uint32_t i = 0; i < count; i++)
    if (workers[i].lists && workers[i].figures_known)
      conflicts += count_missing(s, &lists, workers[i].id);
  lock_give(&s->lock);
  free(lists.models);
  return conflicts;
}
