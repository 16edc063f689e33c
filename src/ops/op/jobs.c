/*
 * jobs: whatever takes longer. A transfer is a job too, under the same number with another letter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "ops/op/models.h"
#include "ops/reply.h"
#include "ops/wait.h"

struct get {
  char id[80];
};

uint32_t op_jobs_percent(const struct job_view *view) {
  if (view->state == JOB_COMPLETED)
    return 10000;
  return view->bytes_total
             ? (uint32_t)((unsigned __int128)view->bytes_done * 10000 / view->bytes_total)
             : 0;
}

typedef void write_fn(struct writer *w, const struct job_view *view);

static write_fn *const results[JOB_KINDS] = {
    [JOB_TRANSFER] = op_transfer_write, [JOB_COPY] = op_copy_write,
    [JOB_FILL] = op_copy_write,         [JOB_DEFRAGMENT] = op_defragment_write,
    [JOB_CLEAR] = op_clear_write,       [JOB_LOAD] = op_models_write_job,
    [JOB_UNLOAD] = op_models_write_job, [JOB_OPTIMIZE] = op_models_optimize_write,
    [JOB_APPLY] = op_optimization_write};

static bool is_of_model(const struct job_view *view) {
  return view->kind == JOB_LOAD || view->kind == JOB_UNLOAD;
}

/* As whoever waited for it was answered; a model is told as it is now. */
static void write_result(struct ops_call *call, struct writer *w, const struct job_view *view) {
  struct model_view model;
  struct problem gone;
  writer_object(w, "result");
  results[view->kind](w, view);
  if (is_of_model(view) && !op_models_look(call, view->result.model.model, &model, &gone))
    op_models_write(w, "model", &model);
  writer_end(w);
}

static void write_job(struct ops_call *call, struct writer *w, const struct job_view *view) {
  bool failed = view->state == JOB_FAILED || view->state == JOB_CANCELLED;
  writer_id(w, "jobId", view->kind == JOB_TRANSFER ? 't' : 'j', view->id);
  writer_text(w, "kind", job_kinds[view->kind]);
  writer_text(w, "status", job_states[view->state]);
  writer_hundredths(w, "progressPercent", op_jobs_percent(view));
  writer_time(w, "createdAt", view->created_at);
  writer_time(w, "startedAt", view->started_at);
  writer_time(w, "completedAt", view->completed_at);
  if (view->state == JOB_COMPLETED && !view->result_lost && results[view->kind]) {
    write_result(call, w, view);
  } else {
    writer_null(w, "result");
  }
  writer_text(w, "errorCode", failed ? status_code(view->problem.status) : NULL);
  writer_text(w, "errorMessage", failed ? view->problem.text : NULL);
}

enum ops_progress op_jobs_accepted(struct ops_call *call, const struct job_view *view) {
  struct writer w;
  reply_begin(call, &w);
  if (view->kind == JOB_TRANSFER) {
    op_transfer_write(&w, view);
    writer_id(&w, "jobId", 't', view->id);
  } else {
    write_job(call, &w, view);
  }
  if (is_of_model(view))
    writer_id(&w, "modelId", ID_MODEL, view->result.model.model);
  return reply_end(call, &w);
}

static void encode(struct ops_call *call, const struct job_view *view) {
  struct writer w;
  reply_begin(call, &w);
  write_job(call, &w, view);
  reply_end(call, &w);
}

static enum status find(struct ops_call *call, const char *text, struct job **job,
                        struct problem *problem) {
  uint64_t id = id_parse('j', text), transfer = id_parse('t', text);
  enum status status = STATUS_NOT_FOUND;
  if (id || transfer)
    status = job_find(ops_service(call->ops), id ? id : transfer, transfer != 0, job);
  if (!status)
    return status;
  problem_set(problem, STATUS_NOT_FOUND, "no job %.60s", text);
  if (id || transfer)
    snprintf(problem->subject, sizeof problem->subject, "%s", text);
  return STATUS_NOT_FOUND;
}

enum ops_progress op_jobs_look(struct ops_call *call, struct job *job, wait_encode_fn *encode_job) {
  struct job_view view;
  job_look(job, &view);
  job_give(job);
  encode_job(call, &view);
  return OPS_DONE;
}

enum ops_progress op_jobs_end(struct ops_call *call, struct job *job, wait_encode_fn *encode_job) {
  struct problem problem;
  if (job_cancel(job, &call->caller, &problem)) {
    job_give(job);
    return reply_fail(call, &problem);
  }
  return wait_said(call, job, &(struct wait_said){true, WAIT_DEFAULT}, encode_job);
}

static enum ops_progress run_get(struct ops_call *call, void *params) {
  struct problem problem;
  struct job *job;
  if (find(call, ((const struct get *)params)->id, &job, &problem))
    return reply_fail(call, &problem);
  return op_jobs_look(call, job, encode);
}

static enum ops_progress run_cancel(struct ops_call *call, void *params) {
  struct problem problem;
  struct job *job;
  if (find(call, ((const struct get *)params)->id, &job, &problem))
    return reply_fail(call, &problem);
  return op_jobs_end(call, job, encode);
}

static const struct reader_field fields[] = {
    {.name = "jobId",
     .type = READER_TEXT,
     .offset = offsetof(struct get, id),
     .size = sizeof(((struct get *)0)->id),
     .required = true,
     .doc = "which"},
};

const struct ops_row op_jobs_get = {.action = "memory.get_job",
                                    .method = OPS_GET,
                                    .path = "/api/memory/jobs/{id}",
                                    .role = CALLER_READ,
                                    .envelope = true,
                                    .fields = fields,
                                    .field_count = 1,
                                    .path_count = 1,
                                    .params_size = sizeof(struct get),
                                    .summary = "The state of a job",
                                    .answer = "Job",
                                    .schema = "Job",
                                    .handler = run_get};

const struct ops_row op_jobs_cancel = {.action = "memory.cancel_job",
                                       .method = OPS_DELETE,
                                       .path = "/api/memory/jobs/{id}",
                                       .role = CALLER_WRITE,
                                       .envelope = true,
                                       .fields = fields,
                                       .field_count = 1,
                                       .path_count = 1,
                                       .params_size = sizeof(struct get),
                                       .summary = "Cancel a job",
                                       .answer = "Job",
                                       .schema = "Job",
                                       .handler = run_cancel};

/* ---- list ---- */

struct list {
  uint64_t limit, cursor;
  int state, order;
};

static void list_defaults(void *params) {
  *(struct list *)params = (struct list){100, OP_START, JOB_ANY, OP_DESCENDING};
}

enum ops_progress op_jobs_page(struct ops_call *call, struct job_list *asked,
                               const struct op_jobs_words *words) {
  struct problem problem;
  struct writer w;
  uint64_t next;
  if (op_cursor(&asked->cursor, &problem))
    return reply_fail(call, &problem);
  struct job **jobs = malloc(asked->max * sizeof(struct job *));
  if (!jobs) {
    problem_set(&problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
    return reply_fail(call, &problem);
  }
  uint32_t count = job_list(ops_service(call->ops), asked, jobs, &next);
  reply_begin(call, &w);
  writer_array(&w, words->name);
  for (uint32_t i = 0; i < count; i++) {
    struct job_view view;
    job_look(jobs[i], &view);
    job_give(jobs[i]);
    writer_object(&w, NULL);
    words->write(call, &w, &view);
    writer_end(&w);
  }
  writer_end(&w);
  writer_id(&w, "nextCursor", words->letter, next);
  free(jobs);
  return reply_end(call, &w);
}

static enum ops_progress run_list(struct ops_call *call, void *params) {
  static const struct op_jobs_words words = {"jobs", 'j', write_job};
  const struct list *list = params;
  struct job_list asked = {.kind = JOB_ANY,
                           .state = list->state,
                           .newest_first = list->order == OP_DESCENDING,
                           .cursor = list->cursor,
                           .max = (uint32_t)list->limit};
  return op_jobs_page(call, &asked, &words);
}

static const struct reader_field list_fields[] = {
    OP_LIMIT(struct list, limit, "how many at most"),
    OP_CURSOR(struct list, cursor, 'j'),
    {.name = "status",
     .type = READER_WORD,
     .offset = offsetof(struct list, state),
     .words = job_states,
     .doc = "only those that are in this"},
    OP_ORDER(struct list, order, "desc", "newest or oldest first"),
};

const struct ops_row op_jobs_list = {.action = "memory.list_jobs",
                                     .method = OPS_GET,
                                     .path = "/api/memory/jobs",
                                     .role = CALLER_READ,
                                     .envelope = true,
                                     .fields = list_fields,
                                     .field_count = OP_COUNT(list_fields),
                                     .query_count = OP_COUNT(list_fields),
                                     .params_size = sizeof(struct list),
                                     .summary = "Jobs that run, and those of the last hour",
                                     .answer = "Jobs",
                                     .schema = "JobPage",
                                     .defaults = list_defaults,
                                     .handler = run_list};
