/*
 * models_status: models' memory beside the devices', in one answer: what is there, what could go,
 * what was done last, what is under way, and which operations would be admitted now. Models are
 * read a page at a time, so that ten thousand of them need no memory for all at once.
 */
#include <stdlib.h>
#include <string.h>

#include "ops/op/models.h"
#include "ops/op/recommendations.h"
#include "ops/reply.h"
#include "ops/table.h"
#include "ops/wait.h"
#include "service/report.h"
#include "service/service.h"

#define PAGE 100

/* Over the pages: fn for each model. False: no memory. */
static bool each_model(struct ops_call *call,
                       void (*fn)(struct writer *w, const struct model_view *), struct writer *w) {
  struct model_page page = {.next = 0};
  do {
    if (model_list(ops_service(call->ops), page.next, PAGE, &page))
      return false;
    for (uint32_t i = 0; i < page.count; i++)
      fn(w, &page.models[i]);
    free(page.models);
  } while (page.next);
  return true;
}

static void write_loaded(struct writer *w, const struct model_view *model) {
  if (model->state == MODEL_READY || model->state == MODEL_PARKED)
    op_models_write(w, NULL, model);
}

static void write_pending(struct writer *w, const struct model_view *model) {
  if (model->state != MODEL_LOADING && model->state != MODEL_UNLOADING)
    return;
  writer_object(w, NULL);
  writer_text(w, "operation", model->state == MODEL_LOADING ? "load" : "unload");
  writer_id(w, "modelId", ID_MODEL, model->id);
  writer_text(w, "name", model->name);
  writer_end(w);
}

/* Workers of whose newest state nothing is known yet. */
static void write_questions(struct service *service, struct writer *w) {
  struct view_worker workers[VIEW_WORKERS];
  uint32_t count = service_workers(service, workers, VIEW_WORKERS);
  for (uint32_t i = 0; i < count; i++) {
    if (workers[i].synchronized)
      continue;
    writer_object(w, NULL);
    writer_text(w, "operation", "synchronize");
    writer_null(w, "modelId");
    writer_text(w, "name", workers[i].id);
    writer_end(w);
  }
}

static void write_last(struct writer *w, const struct model_status *status) {
  if (!status->last_at) {
    writer_null(w, "lastOperation");
    return;
  }
  writer_object(w, "lastOperation");
  writer_text(w, "operation", job_kinds[status->last_kind]);
  writer_text(w, "status", job_states[status->last_state]);
  writer_id(w, "modelId", ID_MODEL, status->last_model);
  writer_time(w, "completedAt", status->last_at);
  writer_end(w);
}

static bool write_memory(struct ops_call *call, const struct view_host *host,
                         const struct model_status *status, struct writer *w) {
  struct model_totals totals;
  model_count(ops_service(call->ops), &totals);
  writer_object(w, "modelMemory");
  writer_uint(w, "totalBytes", host->figures.total_bytes);
  writer_uint(w, "usedBytes", totals.device_bytes + totals.ram_bytes);
  writer_uint(w, "availableBytes", host->figures.available_bytes);
  writer_uint(w, "reclaimableBytes", status->reclaimable_bytes);
  writer_uint(w, "ramBytes", totals.ram_bytes);
  writer_uint(w, "count", totals.loaded + totals.parked);
  writer_hundredths(w, "fragmentationPercent", host->figures.fragmentation);
  writer_array(w, "loadedModels");
  bool ok = each_model(call, write_loaded, w);
  writer_end(w);
  write_last(w, status);
  writer_end(w);
  return ok;
}

static bool write_coordination(struct ops_call *call, const struct view_host *host,
                               struct writer *w) {
  bool healthy = host->synchronized && host->workers_healthy == host->workers;
  writer_object(w, "coordination");
  writer_bool(w, "isSynchronized", host->synchronized);
  writer_time(w, "lastSyncAttempt", host->last_sync);
  writer_uint(w, "conflictCount", host->conflicts);
  writer_text(w, "healthStatus",
              view_healths[healthy && !host->conflicts ? VIEW_HEALTHY : VIEW_WARNING]);
  writer_array(w, "pendingActions");
  bool ok = each_model(call, write_pending, w);
  write_questions(ops_service(call->ops), w);
  writer_end(w);
  writer_end(w);
  return ok;
}

/* Which want memory, and are refused or wait when there is none and none can be had. */
static bool wants_memory(const char *action) {
  static const char *const actions[] = {"memory.allocate", "memory.load_model", "memory.transfer"};
  for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
    if (strcmp(actions[i], action) == 0)
      return true;
  return false;
}

static void write_operations(const struct view_host *host, uint64_t reclaimable_bytes,
                             struct writer *w) {
  bool full = host->pressure.level == PRESSURE_CRITICAL &&
              !(reclaimable_bytes + host->figures.cached_bytes);
  size_t count;
  const struct ops_row *const *rows = table_rows(&count);
  writer_array(w, "availableOperations");
  for (size_t i = 0; i < count; i++)
    if (rows[i]->path && rows[i]->method == OPS_POST && rows[i]->action &&
        table_by_action(rows[i]->action) == rows[i] && !(full && wants_memory(rows[i]->action)))
      writer_text(w, NULL, rows[i]->action);
  writer_end(w);
}

static bool write_status(struct ops_call *call, const struct view_host *host, struct writer *w) {
  struct model_status status = {.last_at = 0};
  model_status(ops_service(call->ops), &status);
  bool ok = write_memory(call, host, &status, w);
  ok = write_coordination(call, host, w) && ok;
  write_operations(host, status.reclaimable_bytes, w);
  writer_hundredths(w, "pressurePercent", host->pressure.percent);
  op_recommendations_write(call, w);
  writer_time(w, "lastSynchronized", host->synchronized ? host->last_sync : 0);
  return ok;
}

static enum ops_progress run(struct ops_call *call, void *params) {
  struct view_host host;
  struct problem problem;
  struct writer w;
  (void)params;
  if (!wait_workers(call) || !wait_fresh(call, false))
    return OPS_LATER;
  report_host(ops_service(call->ops), &host);
  reply_begin(call, &w);
  if (write_status(call, &host, &w))
    return reply_end(call, &w);
  problem_set(&problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  return reply_fail(call, &problem);
}

const struct ops_row op_models_status = {.action = "memory.model_status",
                                         .method = OPS_GET,
                                         .path = "/api/memory/models/status",
                                         .role = CALLER_READ,
                                         .envelope = true,
                                         .summary = "Models' memory beside the devices'",
                                         .answer = "Model status",
                                         .schema = "ModelStatus",
                                         .handler = run};
