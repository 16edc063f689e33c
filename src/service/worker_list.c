/*
 * worker_list: what workers say now, beside the book of their promises.
 */
#include "service/worker_list.h"

#include <string.h>

#include "service/models.h"
#include "service/worker_optimize.h"

static bool has(const struct worker_list *list, const char *name) {
  for (uint32_t i = 0; i < list->count; i++)
    if (!strcmp(list->rows[i].name, name))
      return true;
  return false;
}

void worker_list_add(struct service *s, struct worker_list *list, bool broke) {
  struct view_worker workers[VIEW_WORKERS];
  uint32_t count = service_workers(s, workers, VIEW_WORKERS);
  LOCK_SCOPE(&s->lock);
  for (uint32_t i = 0; i < count && list->count < VIEW_WORKERS; i++) {
    const struct view_worker *worker = &workers[i];
    const struct promise before = promise_of(&s->models->promises, worker->id);
    if (!worker_optimize_promises(worker) || before.broken != broke || has(list, worker->id))
      continue;
    memcpy(list->rows[list->count].name, worker->id, sizeof worker->id);
    list->rows[list->count].expected = promise_scale(&before, worker->reclaimable_bytes);
    list->rows[list->count++].promised = worker->reclaimable_bytes;
  }
}

void worker_list_all(struct service *s, struct worker_list *list) {
  worker_list_add(s, list, false);
  worker_list_add(s, list, true);
}

uint64_t worker_list_expected(const struct worker_list *list) {
  uint64_t bytes = 0;
  for (uint32_t i = list->at; i < list->count; i++)
    bytes += list->rows[i].expected;
  return bytes;
}
