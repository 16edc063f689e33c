/*
 * views: copies under a lock, nothing else.
 */
#include "daemon/views.h"

#include <string.h>

#include "base/clock.h"

#define VIEWS_FRESH_NS (2 * CLOCK_SECOND) /* contract 8 */

void views_init(struct views *views) { lock_init(&views->lock, LOCK_RANK_DOOR, "views"); }

void views_done(struct views *views) { lock_done(&views->lock); }

void views_begin(struct views *views) {
  lock_take(&views->lock);
  views->count = views->model_count = 0;
}

void views_end(struct views *views) { lock_give(&views->lock); }

void views_add(struct views *views, const struct view_worker *worker,
               const struct standing *standing) {
  if (views->count == VIEW_WORKERS)
    return;
  views->workers[views->count++] = *worker;
  for (uint32_t i = 0; standing && standing->valid && i < standing->model_count; i++) {
    if (views->model_count == VIEW_WORKER_MODELS)
      return;
    struct view_worker_model *model = &views->models[views->model_count++];
    *model = standing->models[i];
    memcpy(model->worker, worker->id, sizeof model->worker);
  }
}

uint32_t views_list(struct views *views, struct view_worker *out, uint32_t max) {
  uint64_t now = clock_now();
  LOCK_SCOPE(&views->lock);
  uint32_t count = views->count < max ? views->count : max;
  memcpy(out, views->workers, count * sizeof *out);
  for (uint32_t i = 0; i < count; i++)
    out[i].figures_known = out[i].status_ns && now < out[i].status_ns + VIEWS_FRESH_NS;
  return count;
}

uint32_t views_models(struct views *views, struct view_worker_model *out, uint32_t max) {
  LOCK_SCOPE(&views->lock);
  uint32_t count = views->model_count < max ? views->model_count : max;
  memcpy(out, views->models, count * sizeof *out);
  return count;
}

bool views_has(struct views *views, const char *worker) {
  LOCK_SCOPE(&views->lock);
  for (uint32_t i = 0; i < views->count; i++)
    if (!strcmp(views->workers[i].id, worker))
      return true;
  return false;
}
