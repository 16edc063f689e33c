/*
 * workers: the processes that touch bytes.
 */
#include <string.h>

#include "ops/op.h"
#include "ops/reply.h"
#include "service/service.h"

struct worker {
  char id[80];
};

static void write_words(struct writer *w, const char *key, const char *list) {
  writer_array(w, key);
  for (const char *at = list; *at;) {
    size_t n = strcspn(at, ",");
    writer_text_n(w, NULL, at, n);
    at += n + (at[n] == ',');
  }
  writer_end(w);
}

static void write_worker(struct writer *w, const struct view_worker *worker) {
  writer_object(w, NULL);
  writer_text(w, "workerId", worker->id);
  if (worker->pid)
    writer_int(w, "pid", worker->pid);
  else
    writer_null(w, "pid");
  writer_text(w, "state", view_worker_states[worker->state]);
  writer_text_or_null(w, "command", worker->command);
  write_words(w, "capabilities", worker->capabilities);
  writer_array(w, "models");
  writer_end(w);
  writer_uint(w, "restarts", worker->restarts);
  writer_time(w, "lastContact", worker->last_contact);
  writer_uint(w, "memoryBytes", worker->memory_bytes);
  writer_uint(w, "reclaimableBytes", worker->reclaimable_bytes);
  writer_text(w, "transport", worker->transport);
  writer_end(w);
}

static enum ops_progress answer(struct ops_call *call) {
  struct view_worker workers[VIEW_WORKERS];
  struct writer w;
  uint32_t count = service_workers(ops_service(call->ops), workers, VIEW_WORKERS);
  reply_begin(call, &w);
  writer_array(&w, "workers");
  for (uint32_t i = 0; i < count; i++)
    write_worker(&w, &workers[i]);
  writer_end(&w);
  return reply_end(call, &w);
}

static enum ops_progress run_list(struct ops_call *call, void *params) {
  (void)params;
  return answer(call);
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
