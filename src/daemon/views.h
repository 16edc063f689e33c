/*
 * views: what the service may read of the workers at any time, on any thread; the loop's thread
 * makes it anew when something changes.
 */
#ifndef DAEMON_VIEWS_H
#define DAEMON_VIEWS_H

#include "base/lock.h"
#include "daemon/standing.h"

struct views {
  struct lock lock;
  uint32_t count, model_count, opportunity_count;
  struct view_worker workers[VIEW_WORKERS];
  struct view_worker_model models[VIEW_WORKER_MODELS];
  struct view_opportunity opportunities[VIEW_OPPORTUNITIES];
};

void views_init(struct views *views);
void views_done(struct views *views);
/* Between these two all are added, under the lock. */
void views_begin(struct views *views);
void views_end(struct views *views);
/* More than there is room for are left out. `standing` may be NULL. */
void views_add(struct views *views, const struct view_worker *worker,
               const struct standing *standing);

/* What a worker said longer than 2 s ago is not known any more (contract 8): its figures are not,
 * and the next two leave it out. */
uint32_t views_list(struct views *views, struct view_worker *out, uint32_t max);
/* What the workers name as their models. */
uint32_t views_models(struct views *views, struct view_worker_model *out, uint32_t max);
/* What those could free that can be asked for it. */
uint32_t views_opportunities(struct views *views, struct view_opportunity *out, uint32_t max);
bool views_has(struct views *views, const char *worker);

#endif
