/*
 * model_join: one struct for as long as others come first; from its start on it is the decision
 * thread's. The client's files are kept for the case that the load must open them itself.
 */
#include "service/model_join.h"

#include <stdlib.h>
#include <string.h>

#include "service/job_work.h"
#include "service/model_load.h"
#include "service/model_work.h"

static void let_go(struct model_join *join) {
  queue_cancel(join->service->decision, &join->stir);
  for (uint32_t i = 0; join->files && i < join->params.file_count; i++)
    share_close(&join->files[i].share);
  job_give(join->other);
  free(join->files);
  free(join);
}

static enum status keep_files(struct model_join *join) {
  const struct model_file *given = join->params.files;
  uint32_t count = join->params.file_count;
  enum status status = STATUS_OK;
  join->params.files = NULL;
  join->files = NULL;
  if (!count)
    return STATUS_OK;
  join->files = calloc(count, sizeof *join->files);
  if (!join->files)
    return STATUS_INTERNAL_ERROR;
  for (uint32_t i = 0; i < count; i++)
    join->files[i].share.kind = SHARE_NONE;
  for (uint32_t i = 0; !status && i < count; i++) {
    memcpy(join->files[i].name, given[i].name, sizeof join->files[i].name);
    status = share_copy(&given[i].share, &join->files[i].share);
  }
  join->params.files = join->files;
  return status;
}

/* Whether what stopped the other load would stop this one as well. */
static bool is_ours(const struct model_join *join, enum status status) {
  bool file = status == STATUS_MODEL_NOT_FOUND || status == STATUS_MODEL_FORMAT_INVALID;
  bool theirs = join->ahead || status == STATUS_CANCELLED || status == STATUS_FORBIDDEN ||
                status_http(status) == 507;
  return status && !join->files && (file || !theirs);
}

static void follow(struct model_join *join) {
  job_on_cancel(join->job, &join->stir);
  if (job_watch(join->other, &join->ended, &join->stir))
    job_follow(join->job, join->other);
  else
    join->ended.ready(&join->ended);
}

static enum status cancelled(struct problem *problem) {
  return problem_set(problem, STATUS_CANCELLED, "cancelled");
}

/* Nothing but the other's end comes after that has begun. */
static void stir(struct task *task) {
  struct model_join *join = (struct model_join *)((char *)task - offsetof(struct model_join, stir));
  struct problem problem;
  if (!job_cancelled(join->job)) {
    job_follow(join->job, join->other);
  } else if (job_unwait(join->other, &join->ended)) {
    cancelled(&problem);
    job_finish(join->job, &problem);
    let_go(join);
  }
}

/* PENDING: it is not over. */
static enum status look(struct model_join *join, struct problem *problem) {
  struct job_view view;
  job_look(join->other, &view);
  job_give(join->other);
  join->other = NULL;
  *problem = view.problem;
  if (job_cancelled(join->job))
    return cancelled(problem);
  if (is_ours(join, view.problem.status))
    return view.problem.status;
  if (view.state != JOB_COMPLETED)
    job_unfollow(join->job);
  *problem = (struct problem){.status = STATUS_OK};
  return model_load_go_on(join->service, join, problem);
}

static void go_on(struct task *task) {
  struct model_join *join = (struct model_join *)((char *)task - offsetof(struct model_join, hop));
  struct problem problem;
  job_on_cancel(join->job, NULL);
  enum status status = look(join, &problem);
  if (!status || join->other)
    model_work_tell(join->job, join->model); /* it may be listed anew */
  if (status != STATUS_PENDING)
    job_finish(join->job, &problem);
  if (join->other)
    follow(join);
  else
    let_go(join);
}

static void begin(struct task *task) {
  struct model_join *join = (struct model_join *)((char *)task - offsetof(struct model_join, hop));
  join->hop.run = go_on;
  follow(join);
}

static void ended(struct job_waiter *waiter) {
  struct model_join *join = (struct model_join *)waiter;
  queue_post(join->service->decision, &join->hop);
}

static struct job *make_job(struct model_join *join) {
  struct job_view view;
  job_look(join->other, &view);
  struct job_params make = {.kind = JOB_LOAD,
                            .caller = &join->caller,
                            .bytes_total = view.bytes_total,
                            .cancellable = true};
  memcpy(make.record.key, join->key.hash, sizeof make.record.key);
  make.record.key_args = join->key.args;
  LOCK_SCOPE(&join->service->lock);
  make.id = ledger_next_id(join->service->ledger);
  return job_make(join->service, &make);
}

enum status model_join_start(struct service *s, const struct model_join *join, struct job **job,
                             struct problem *problem) {
  struct model_join *kept = malloc(sizeof *kept);
  if (!kept) {
    job_give(join->other);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  }
  *kept = *join;
  kept->service = s;
  kept->hop.run = begin;
  kept->stir.run = stir;
  kept->ended.ready = ended;
  enum status status = keep_files(kept);
  kept->job = status ? NULL : make_job(kept);
  if (!kept->job) {
    let_go(kept);
    return status ? problem_set(problem, status, "the daemon is out of descriptors")
                  : problem_set(problem, STATUS_RATE_LIMITED, "too many jobs are under way");
  }
  model_work_tell(kept->job, kept->model);
  *job = job_keep(kept->job);
  queue_post(s->decision, &kept->hop);
  return STATUS_OK;
}
