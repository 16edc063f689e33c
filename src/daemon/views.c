/*
 * views: copies under a lock, nothing else.
 */
#include "daemon/views.h"

#include <string.h>

#include "base/clock.h"
#include "daemon/wire.h"

#define VIEWS_FRESH_NS (2 * CLOCK_SECOND) /* contract 8 */

void views_init(struct views *views) { lock_init(&views->lock, LOCK_RANK_DOOR, "views"); }

void views_done(struct views *views) { lock_done(&views->lock); }

void views_begin(struct views *views) {
  lock_take(&views->lock);
  views->count = views->model_count = views->opportunity_count = 0;
}

void views_end(struct views *views) { lock_give(&views->lock); }

static void add_models(struct views *views, const struct view_worker *worker,
                       const struct standing *standing) {
  for (uint32_t i = 0; i < standing->model_count; i++) {
    if (views->model_count == VIEW_WORKER_MODELS)
      return;
    struct view_worker_model *model = &views->models[views->model_count++];
    *model = standing->models[i];
    memcpy(model->worker, worker->id, sizeof model->worker);
  }
}

static void add_opportunities(struct views *views, const struct view_worker *worker,
                              const struct standing *standing) {
  if (!wire_lists(worker->capabilities, "memory.optimize"))
    return;
  for (uint32_t i = 0; i < standing->opportunity_count; i++) {
    if (views->opportunity_count == VIEW_OPPORTUNITIES)
      return;
    struct view_opportunity *opportunity = &views->opportunities[views->opportunity_count++];
    *opportunity = standing->opportunities[i];
    memcpy(opportunity->worker, worker->id, sizeof opportunity->worker);
  }
}

void views_add(struct views *views, const struct view_worker *worker,
               const struct standing *standing) {
  if (views->count == VIEW_WORKERS)
    return;
  views->workers[views->count++] = *worker;
  if (!standing || !standing->valid)
    return;
  add_models(views, worker, standing);
  add_opportunities(views, worker, standing);
}

static bool is_fresh(const struct view_worker *worker, uint64_t now) {
  return worker->status_ns && now < worker->status_ns + VIEWS_FRESH_NS;
}

/* What that worker said still holds. Under the lock. */
static bool holds(const struct views *views, const char *worker, uint64_t now) {
  for (uint32_t i = 0; i < views->count; i++)
    if (!strcmp(views->workers[i].id, worker))
      return is_fresh(&views->workers[i], now);
  return false;
}

uint32_t views_list(struct views *views, struct view_worker *out, uint32_t max) {
  uint64_t now = clock_now();
  LOCK_SCOPE(&views->lock);
  uint32_t count = views->count < max ? views->count : max;
  memcpy(out, views->workers, count * sizeof *out);
  for (uint32_t i = 0; i < count; i++)
    out[i].figures_known = is_fresh(&out[i], now);
  return count;
}

uint32_t views_models(struct views *views, struct view_worker_model *out, uint32_t max) {
  uint64_t now = clock_now();
  uint32_t count = 0;
  LOCK_SCOPE(&views->lock);
  for (uint32_t i = 0; i < views->model_count && count < max; i++)
    if (holds(views, views->models[i].worker, now))
      out[count++] = views->models[i];
  return count;
}

uint32_t views_opportunities(struct views *views, struct view_opportunity *out, uint32_t max) {
  uint64_t now = clock_now();
  uint32_t count = 0;
  LOCK_SCOPE(&views->lock);
  for (uint32_t i = 0; i < views->opportunity_count && count < max; i++)
    if (holds(views, views->opportunities[i].worker, now))
      out[count++] = views->opportunities[i];
  return count;
}

bool views_has(struct views *views, const char *worker) {
  LOCK_SCOPE(&views->lock);
  for (uint32_t i = 0; i < views->count; i++)
    if (!strcmp(views->workers[i].id, worker))
      return true;
  return false;
}
