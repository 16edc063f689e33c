/*
 * workers: the processes that touch bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "ops/op.h"
#include "ops/reply.h"
#include "ops/wait.h"
#include "service/model.h"
#include "service/service.h"

#define PAGE 100 /* models that are looked at together */

struct worker {
  char id[80];
};

/* Who loaded which of the models that are somewhere in memory. */
struct loaded {
  struct {
    uint64_t model;
    char worker[40];
  } * list;
  uint32_t count;
  struct view_worker_model *said; /* by the workers themselves */
  uint32_t said_count;
};

static bool is_resident(const struct model_view *model) {
  return model->state == MODEL_READY || model->state == MODEL_PARKED;
}

/* Adds a page. INTERNAL_ERROR: no memory. */
static enum status add_page(struct loaded *loaded, const struct model_page *page) {
  void *list = realloc(loaded->list, (loaded->count + page->count + 1) * sizeof *loaded->list);
  if (!list)
    return STATUS_INTERNAL_ERROR;
  loaded->list = list;
  for (uint32_t i = 0; i < page->count; i++) {
    const struct model_view *model = &page->models[i];
    if (!is_resident(model) || !*model->worker)
      continue;
    loaded->list[loaded->count].model = model->id;
    memcpy(loaded->list[loaded->count++].worker, model->worker, sizeof model->worker);
  }
  return STATUS_OK;
}

/* Both lists are to be freed in any case. */
static enum status find_loaded(struct service *service, struct loaded *out) {
  struct model_page page = {.next = 0};
  *out = (struct loaded){.said = calloc(VIEW_WORKER_MODELS, sizeof *out->said)};
  if (!out->said)
    return STATUS_INTERNAL_ERROR;
  out->said_count = service_worker_models(service, out->said, VIEW_WORKER_MODELS);
  do {
    enum status status = model_list(service, page.next, PAGE, &page);
    if (status)
      return status;
    status = add_page(out, &page);
    free(page.models);
    if (status)
      return status;
  } while (page.next);
  return STATUS_OK;
}

/* It is in the ledger's list of what that worker loaded. */
static bool was_loaded(const struct loaded *loaded, const struct view_worker_model *said) {
  for (uint32_t i = 0; i < loaded->count; i++)
    if (strcmp(loaded->list[i].worker, said->worker) == 0 &&
        loaded->list[i].model == id_parse(ID_MODEL, said->model))
      return true;
  return false;
}

static void write_models(struct writer *w, const struct loaded *loaded, const char *worker) {
  writer_array(w, "models");
  for (uint32_t i = 0; i < loaded->count; i++)
    if (strcmp(loaded->list[i].worker, worker) == 0)
      writer_id(w, NULL, ID_MODEL, loaded->list[i].model);
  for (uint32_t i = 0; i < loaded->said_count; i++)
    if (strcmp(loaded->said[i].worker, worker) == 0 && !was_loaded(loaded, &loaded->said[i]))
      writer_text(w, NULL, loaded->said[i].model);
  writer_end(w);
}

static void write_figure(struct writer *w, const char *key, bool known, uint64_t bytes) {
  if (known)
    writer_uint(w, key, bytes);
  else
    writer_null(w, key);
}

static void write_worker(struct writer *w, const struct view_worker *worker,
                         const struct loaded *loaded) {
  writer_object(w, NULL);
  writer_text(w, "workerId", worker->id);
  writer_uint_or_null(w, "pid", (uint64_t)worker->pid);
  writer_text(w, "state", view_worker_states[worker->state]);
  writer_text_or_null(w, "command", worker->command);
  writer_words(w, "capabilities", worker->capabilities);
  write_models(w, loaded, worker->id);
  writer_uint(w, "restarts", worker->restarts);
  writer_time(w, "lastContact", worker->last_contact);
  write_figure(w, "memoryBytes", worker->figures_known && !worker->memory_unknown,
               worker->memory_bytes);
  write_figure(w, "reclaimableBytes", worker->figures_known && !worker->reclaimable_unknown,
               worker->reclaimable_bytes);
  writer_text(w, "transport", worker->transport);
  writer_end(w);
}

static enum ops_progress answer(struct ops_call *call) {
  struct view_worker workers[VIEW_WORKERS];
  struct loaded loaded;
  struct problem problem;
  struct writer w;
  if (find_loaded(ops_service(call->ops), &loaded)) {
    free(loaded.list);
    free(loaded.said);
    problem_set(&problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
    return reply_fail(call, &problem);
  }
  uint32_t count = service_workers(ops_service(call->ops), workers, VIEW_WORKERS);
  reply_begin(call, &w);
  writer_array(&w, "workers");
  for (uint32_t i = 0; i < count; i++)
    write_worker(&w, &workers[i], &loaded);
  writer_end(&w);
  free(loaded.list);
  free(loaded.said);
  return reply_end(call, &w);
}

static enum ops_progress run_list(struct ops_call *call, void *params) {
  (void)params;
  return wait_workers(call) ? answer(call) : OPS_LATER;
}

static enum ops_progress run_restart(struct ops_call *call, void *params) {
  struct problem problem;
  if (service_restart_worker(ops_service(call->ops), ((const struct worker *)params)->id, &problem))
    return reply_fail(call, &problem);
  return answer(call);
}

static const struct reader_field fields[] = {
    {.name = "workerId",
     .type = READER_TEXT,
     .offset = offsetof(struct worker, id),
     .size = sizeof(((struct worker *)0)->id),
     .required = true,
     .doc = "which"},
};

const struct ops_row op_workers_list = {.action = "memory.list_workers",
                                        .method = OPS_GET,
                                        .path = "/api/memory/workers",
                                        .role = CALLER_READ,
                                        .envelope = true,
                                        .summary = "Workers and how they are",
                                        .answer = "Workers",
                                        .schema = "Workers",
                                        .handler = run_list};

const struct ops_row op_workers_restart = {.action = "memory.restart_worker",
                                           .method = OPS_POST,
                                           .path = "/api/memory/workers/{id}/restart",
                                           .role = CALLER_ADMIN,
                                           .envelope = true,
                                           .fields = fields,
                                           .field_count = 1,
                                           .path_count = 1,
                                           .params_size = sizeof(struct worker),
                                           .summary = "End a worker and start it again",
                                           .answer = "The worker is being restarted",
                                           .schema = "Workers",
                                           .handler = run_restart};
