/*
 * job: see job_work.h for the making and job.h for the looking. A job is a view under the jobs
 * lock, a list of waiters and a reference count. Once finished it never changes. Listed ones are in
 * the table (job_table.h) and in the ledger, which is changed under the state lock: both locks are
 * held where such a job begins, runs and ends.
 */
#include "service/job.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/job_table.h"
#include "service/layers.h"
#include "service/waiting.h"

#define JOB_TOLD_NS (200 * CLOCK_MS) /* between two events of its progress */

const char *const job_kinds[] = {"transfer", "copy",     "fill",    "defragment", "clear",
                                 "allocate", "free",     "refresh", "restart",    "load",
                                 "unload",   "optimize", "apply",   NULL};
const char *const job_states[] = {"pending", "in_progress", "completed",
                                  "failed",  "cancelled",   NULL};

void job_give(struct job *job) {
  if (job && atomic_fetch_sub(&job->references, 1) == 1)
    free(job);
}

struct job *job_keep(struct job *job) {
  atomic_fetch_add(&job->references, 1);
  return job;
}

struct job *job_make(struct service *service, const struct job_params *params) {
  struct job *job = calloc(1, sizeof *job);
  if (!job)
    return NULL;
  atomic_init(&job->references, 1);
  job->service = service;
  job->view.id = params->id;
  job->view.kind = params->kind;
  job->view.created_at = clock_real();
  job->began_ns = clock_now();
  job->view.bytes_total = params->bytes_total;
  job->cancellable = params->cancellable;
  job->record = params->record;
  if (params->transfer)
    job->view.result.transfer = *params->transfer;
  if (params->caller) {
    job->record.domain = params->caller->domain;
    memcpy(job->correlation, params->caller->correlation, sizeof job->correlation);
  }
  if (!params->id)
    return job;
  state_ledger_ahead(service);
  LOCK_SCOPE(&service->jobs_lock);
  if (!job_table_enter(service, job)) {
    free(job);
    return NULL;
  }
  return job;
}

/* Under the state lock. */
static void note_running(struct job *job) {
  LOCK_SCOPE(&job->service->jobs_lock);
  if (job->view.state != JOB_PENDING)
    return;
  job->view.state = JOB_RUNNING;
  job->view.started_at = clock_real();
  job->running_ns = job->told_ns = clock_now();
  job_record_replace(job->service, &job->record, &job->view);
}

void job_running(struct job *job) {
  LOCK_SCOPE(&job->service->lock);
  note_running(job);
}

/* Of its first task; its later ones begin when they are handed over. */
static uint64_t take_beginning(struct job *job) {
  LOCK_SCOPE(&job->service->jobs_lock);
  uint64_t began_ns = job->began_ns;
  job->began_ns = 0;
  return began_ns;
}

void job_submit(struct job *job, struct mover_task *task) {
  struct service *s = job->service;
  job_keep(job);
  job_running(job);
  layers_submit(s, task, take_beginning(job));
  if (job_cancelled(job))
    s->mover->cancel(s->mover_ctx, job->view.id);
  job_give(job);
}

static void measure(struct job *job, uint64_t bytes_done, uint64_t now) {
  uint64_t elapsed = units_max(now - job->running_ns, 1);
  job->view.bytes_done = bytes_done;
  job->view.bytes_per_second = (uint64_t)((unsigned __int128)bytes_done * CLOCK_SECOND / elapsed);
}

void job_progress(struct job *job, uint64_t bytes_done) {
  uint64_t now = clock_now();
  lock_take(&job->service->jobs_lock);
  measure(job, bytes_done, now);
  struct events_record event = {.type = EVENTS_JOB_PROGRESS,
                                .subject = job->view.id,
                                .bytes = bytes_done,
                                .other = job->view.bytes_total,
                                .other_device = (uint8_t)job->view.kind,
                                .detail = (uint8_t)job->view.state};
  bool tell = now - job->told_ns >= JOB_TOLD_NS;
  if (tell)
    job->told_ns = now;
  lock_give(&job->service->jobs_lock);
  if (!tell)
    return;
  events_set_text(&event, job->correlation);
  events_add(job->service->events, &event);
}

bool job_cancelled(struct job *job) {
  LOCK_SCOPE(&job->service->jobs_lock);
  return job->cancel_asked;
}

const char *job_correlation(const struct job *job) { return job->correlation; }

uint64_t job_id(const struct job *job) { return job->view.id; }

void job_update(struct job *job, void (*fn)(struct job_view *view, void *arg), void *arg) {
  LOCK_SCOPE(&job->service->jobs_lock);
  fn(&job->view, arg);
}

void job_forget(struct job *job) {
  lock_take(&job->service->jobs_lock);
  if (job->view.id)
    job_table_leave(job->service, job);
  lock_give(&job->service->jobs_lock);
  job_give(job);
}

/* The wall clock may be corrected meanwhile: what it took is told by the other one. */
static uint64_t ends_at(const struct job *job, uint64_t now) {
  return job->view.started_at ? job->view.started_at + (now - job->running_ns) : clock_real();
}

void job_promise(struct job *job) {
  LOCK_SCOPE(&job->service->jobs_lock);
  job->view.bytes_done = job->view.bytes_total;
  job->view.completed_at = ends_at(job, clock_now());
  job_record_replace(job->service, &job->record, &job->view);
  job->view.completed_at = 0;
}

static void set_end(struct job *job, const struct problem *problem) {
  struct job_view *view = &job->view;
  view->state = problem->status == STATUS_OK          ? JOB_COMPLETED
                : problem->status == STATUS_CANCELLED ? JOB_CANCELLED
                                                      : JOB_FAILED;
  view->problem = *problem;
  uint64_t now = clock_now();
  job->finished_ns = (int64_t)now;
  view->completed_at = ends_at(job, now);
  if (problem->status == STATUS_OK && view->bytes_total)
    view->bytes_done = view->bytes_total;
  view->bytes_per_second = job_record_rate(view);
}

/* Under the state lock if it is listed: its record says how it ended before anyone sees it. */
static struct job_waiter *finish_locked(struct job *job, const struct problem *problem) {
  struct service *s = job->service;
  LOCK_SCOPE(&s->jobs_lock);
  set_end(job, problem);
  job->finished = true;
  struct job_waiter *waiters = job->waiters;
  job->waiters = NULL;
  if (!job->view.id)
    return waiters;
  /* A listed job keeps the work's reference as the table's; it goes when the job is forgotten. */
  job_record_replace(s, &job->record, &job->view);
  job_table_end(s, job);
  return waiters;
}

static struct job_waiter *finish_listed(struct job *job, const struct problem *problem) {
  LOCK_SCOPE(&job->service->lock);
  state_ledger_ahead(job->service);
  return finish_locked(job, problem);
}

void job_finish(struct job *job, const struct problem *problem) {
  bool listed = job->view.id != 0;
  struct job_waiter *waiter = listed ? finish_listed(job, problem) : finish_locked(job, problem);
  for (struct job_waiter *next; waiter; waiter = next) {
    next = waiter->next;
    waiter->ready(waiter);
  }
  if (!listed)
    job_give(job);
}

bool job_wait(struct job *job, struct job_waiter *waiter) {
  LOCK_SCOPE(&job->service->jobs_lock);
  if (job->finished)
    return false;
  waiter->next = job->waiters;
  job->waiters = waiter;
  return true;
}

bool job_unwait(struct job *job, struct job_waiter *waiter) {
  LOCK_SCOPE(&job->service->jobs_lock);
  for (struct job_waiter **link = &job->waiters; *link; link = &(*link)->next) {
    if (*link != waiter)
      continue;
    *link = waiter->next;
    return true;
  }
  return false;
}

bool job_abandon(struct job *job, struct job_waiter *waiter) {
  static const struct caller nobody = {.role = CALLER_ADMIN};
  struct problem ignored;
  if (!job_unwait(job, waiter))
    return false;
  lock_take(&job->service->jobs_lock);
  bool alone = !job->view.id && !job->waiters;
  lock_give(&job->service->jobs_lock);
  if (alone)
    (void)job_cancel(job, &nobody, &ignored);
  return true;
}

void job_look(struct job *job, struct job_view *out) {
  LOCK_SCOPE(&job->service->jobs_lock);
  *out = job->view;
}

enum status job_find(struct service *service, uint64_t id, bool transfers_only, struct job **out) {
  LOCK_SCOPE(&service->jobs_lock);
  struct job *job = job_table_find(service, id);
  if (!job || (transfers_only && job->view.kind != JOB_TRANSFER))
    return transfers_only ? STATUS_TRANSFER_NOT_FOUND : STATUS_NOT_FOUND;
  *out = job_keep(job);
  return STATUS_OK;
}

enum status job_cancel(struct job *job, const struct caller *caller, struct problem *problem) {
  struct service *service = job->service;
  if (caller->role != CALLER_ADMIN && caller->domain != job->record.domain)
    return problem_set(problem, STATUS_FORBIDDEN, "the job belongs to another domain");
  lock_take(&service->jobs_lock);
  bool can = !job->finished && job->cancellable, first = can && !job->cancel_asked;
  if (can)
    job->cancel_asked = true;
  lock_give(&service->jobs_lock);
  if (!can)
    return problem_set(problem, STATUS_CONFLICT, "the job is finished, or cannot be cancelled");
  if (!first)
    return STATUS_OK;
  if (job->view.id) {
    service->mover->cancel(service->mover_ctx, job->view.id);
    return STATUS_OK;
  }
  LOCK_SCOPE(&service->lock);
  waiting_cancel(service, job);
  return STATUS_OK;
}

void job_visit_transfers(struct service *service,
                         void (*fn)(const struct job_view *view, void *arg), void *arg) {
  LOCK_SCOPE(&service->jobs_lock);
  struct job *job = job_table_next(service, 0);
  for (; job; job = job_table_next(service, job->view.id))
    if (job->view.kind == JOB_TRANSFER)
      fn(&job->view, arg);
}

uint32_t job_list_transfers(struct service *service, uint64_t cursor, struct job_view *out,
                            uint32_t max, uint64_t *next) {
  LOCK_SCOPE(&service->jobs_lock);
  uint32_t count = 0;
  uint64_t last = 0;
  *next = 0;
  struct job *job = job_table_next(service, cursor);
  for (; job; job = job_table_next(service, job->view.id)) {
    if (job->view.kind != JOB_TRANSFER)
      continue;
    if (count == max) {
      *next = last;
      break;
    }
    out[count++] = job->view;
    last = job->view.id;
  }
  return count;
}

uint32_t job_unfinished(struct service *service) {
  LOCK_SCOPE(&service->jobs_lock);
  return job_table_unfinished(service);
}

void job_cancel_all(struct service *service) {
  struct caller all = {.role = CALLER_ADMIN};
  struct problem ignored;
  uint64_t after = 0;
  for (;;) {
    lock_take(&service->jobs_lock);
    struct job *job = job_table_next(service, after);
    if (job)
      after = job_keep(job)->view.id;
    lock_give(&service->jobs_lock);
    if (!job)
      return;
    (void)job_cancel(job, &all, &ignored);
    job_give(job);
  }
}

struct job *job_by_key(struct service *service, const uint64_t key[2], uint32_t *args) {
  LOCK_SCOPE(&service->jobs_lock);
  struct job *job = job_table_find_key(service, key);
  if (!job)
    return NULL;
  *args = job->record.key_args;
  return job_keep(job);
}
