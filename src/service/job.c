/*
 * job: see job_work.h for the making and job.h for the looking. A job is a view under the jobs
 * lock, a list of waiters and a reference count. Once finished it never changes. Finished ones stay
 * findable for an hour, at most 10,000 of them.
 */
#include "service/job.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/job_work.h"
#include "service/state.h"
#include "service/waiting.h"

#define JOB_KEPT 10000      /* finished ones that are still listed (contract 3) */
#define JOB_UNFINISHED 4096 /* more at once is an attack or a bug */
#define JOB_KEPT_NS (3600 * CLOCK_SECOND)
#define JOB_TOLD_NS (200 * CLOCK_MS) /* between two events of its progress */
#define JOB_KEYS 1024                /* buckets */

const char *const job_kinds[] = {"transfer", "copy", "fill",    "defragment", "clear",
                                 "allocate", "free", "refresh", "restart",    NULL};
const char *const job_states[] = {"pending", "in_progress", "completed",
                                  "failed",  "cancelled",   NULL};

struct job {
  atomic_uint references;
  struct service *service;
  struct job_view view;
  uint32_t domain;
  char correlation[65];
  struct job_waiter *waiters;
  bool finished, cancellable, cancel_asked;
  uint64_t finished_ns, running_ns, told_ns;
  uint64_t key[2];
  uint32_t key_args, index;
  struct job *key_next;
  struct job *older; /* finished ones, oldest first */
};

struct job_table {
  struct pool pointers; /* one struct job * each */
  struct idmap ids;
  struct job *oldest, *newest;
  uint32_t kept, unfinished;
  struct job *keys[JOB_KEYS];
};

enum status job_table_create(struct job_table **out) {
  struct job_table *jobs = calloc(1, sizeof *jobs);
  if (!jobs)
    return STATUS_INTERNAL_ERROR;
  if (pool_init(&jobs->pointers, sizeof(struct job *), JOB_KEPT + JOB_UNFINISHED) ||
      idmap_init(&jobs->ids, JOB_KEPT + JOB_UNFINISHED)) {
    pool_done(&jobs->pointers);
    free(jobs);
    return STATUS_INTERNAL_ERROR;
  }
  *out = jobs;
  return STATUS_OK;
}

void job_give(struct job *job) {
  if (job && atomic_fetch_sub(&job->references, 1) == 1)
    free(job);
}

struct job *job_keep(struct job *job) {
  atomic_fetch_add(&job->references, 1);
  return job;
}

static void forget_key(struct job_table *jobs, const struct job *job) {
  if (!job->key[0])
    return;
  struct job **link = &jobs->keys[job->key[1] % JOB_KEYS];
  while (*link != job)
    link = &(*link)->key_next;
  *link = job->key_next;
}

static void forget_oldest(struct job_table *jobs) {
  struct job *job = jobs->oldest;
  jobs->oldest = job->older;
  if (!jobs->oldest)
    jobs->newest = NULL;
  jobs->kept--;
  forget_key(jobs, job);
  idmap_erase(&jobs->ids, job->view.id);
  pool_give(&jobs->pointers, job->index);
  job_give(job);
}

static void forget_old(struct job_table *jobs) {
  uint64_t now = clock_now();
  while (jobs->oldest && (jobs->kept > JOB_KEPT || now - jobs->oldest->finished_ns > JOB_KEPT_NS))
    forget_oldest(jobs);
}

void job_table_free(struct job_table *jobs) {
  if (!jobs)
    return;
  while (jobs->oldest)
    forget_oldest(jobs);
  pool_done(&jobs->pointers);
  idmap_done(&jobs->ids);
  free(jobs);
}

static bool list_job(struct job_table *jobs, struct job *job) {
  if (jobs->unfinished == JOB_UNFINISHED)
    return false;
  uint32_t index = pool_take(&jobs->pointers);
  if (!index)
    return false;
  if (!idmap_append(&jobs->ids, job->view.id, index)) {
    pool_give(&jobs->pointers, index);
    return false;
  }
  *(struct job **)pool_at(&jobs->pointers, index) = job;
  job->index = index;
  jobs->unfinished++;
  return true;
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
  job->view.bytes_total = params->bytes_total;
  job->cancellable = params->cancellable;
  if (params->caller) {
    job->domain = params->caller->domain;
    memcpy(job->correlation, params->caller->correlation, sizeof job->correlation);
  }
  if (!params->id)
    return job;
  LOCK_SCOPE(&service->jobs_lock);
  if (!list_job(service->jobs, job)) {
    free(job);
    return NULL;
  }
  return job;
}

void job_running(struct job *job) {
  LOCK_SCOPE(&job->service->jobs_lock);
  if (job->view.state != JOB_PENDING)
    return;
  job->view.state = JOB_RUNNING;
  job->view.started_at = clock_real();
  job->running_ns = job->told_ns = clock_now();
}

void job_submit(struct job *job, struct mover_task *task) {
  struct service *s = job->service;
  job_keep(job);
  job_running(job);
  s->mover->submit(s->mover_ctx, task);
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
  struct job_table *jobs = job->service->jobs;
  lock_take(&job->service->jobs_lock);
  if (job->view.id) {
    jobs->unfinished--;
    forget_key(jobs, job);
    idmap_erase(&jobs->ids, job->view.id);
    pool_give(&jobs->pointers, job->index);
  }
  lock_give(&job->service->jobs_lock);
  job_give(job);
}

static void keep_finished(struct job_table *jobs, struct job *job) {
  jobs->unfinished--;
  jobs->kept++;
  if (jobs->newest)
    jobs->newest->older = job;
  else
    jobs->oldest = job;
  jobs->newest = job;
  forget_old(jobs);
}

static struct job_waiter *finish_locked(struct job *job, const struct problem *problem) {
  LOCK_SCOPE(&job->service->jobs_lock);
  struct job_view *view = &job->view;
  view->state = problem->status == STATUS_OK          ? JOB_COMPLETED
                : problem->status == STATUS_CANCELLED ? JOB_CANCELLED
                                                      : JOB_FAILED;
  view->problem = *problem;
  view->completed_at = clock_real();
  job->finished = true;
  job->finished_ns = clock_now();
  if (problem->status == STATUS_OK && view->bytes_total)
    measure(job, view->bytes_total, job->finished_ns);
  struct job_waiter *waiters = job->waiters;
  job->waiters = NULL;
  /* A listed job keeps the work's reference as the table's; it goes when the job is forgotten. */
  if (view->id)
    keep_finished(job->service->jobs, job);
  return waiters;
}

void job_finish(struct job *job, const struct problem *problem) {
  bool listed = job->view.id != 0;
  struct job_waiter *next;
  for (struct job_waiter *waiter = finish_locked(job, problem); waiter; waiter = next) {
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

static struct job *job_at(const struct job_table *jobs, uint32_t index) {
  return *(struct job **)pool_at(&jobs->pointers, index);
}

enum status job_find(struct service *service, uint64_t id, bool transfers_only, struct job **out) {
  LOCK_SCOPE(&service->jobs_lock);
  forget_old(service->jobs);
  uint32_t index = id ? idmap_find(&service->jobs->ids, id) : 0;
  struct job *job = index ? job_at(service->jobs, index) : NULL;
  if (job && transfers_only && job->view.kind != JOB_TRANSFER)
    job = NULL;
  if (!job)
    return transfers_only ? STATUS_TRANSFER_NOT_FOUND : STATUS_NOT_FOUND;
  *out = job_keep(job);
  return STATUS_OK;
}

enum status job_cancel(struct job *job, const struct caller *caller, struct problem *problem) {
  struct service *service = job->service;
  if (caller->role != CALLER_ADMIN && caller->domain != job->domain)
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

uint32_t job_list_transfers(struct service *service, uint64_t cursor, struct job_view *out,
                            uint32_t max, uint64_t *next) {
  LOCK_SCOPE(&service->jobs_lock);
  struct job_table *jobs = service->jobs;
  uint32_t count = 0;
  uint64_t last = 0;
  *next = 0;
  forget_old(jobs);
  const struct idmap_entry *entry = idmap_next(&jobs->ids, cursor);
  for (; entry; entry = idmap_next(&jobs->ids, entry->id)) {
    struct job *job = job_at(jobs, entry->value);
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
  return service->jobs->unfinished;
}

void job_cancel_all(struct service *service) {
  struct caller all = {.role = CALLER_ADMIN};
  struct problem ignored;
  uint64_t after = 0;
  for (;;) {
    lock_take(&service->jobs_lock);
    const struct idmap_entry *entry = idmap_next(&service->jobs->ids, after);
    struct job *job = entry ? job_keep(job_at(service->jobs, entry->value)) : NULL;
    if (entry)
      after = entry->id;
    lock_give(&service->jobs_lock);
    if (!job)
      return;
    (void)job_cancel(job, &all, &ignored);
    job_give(job);
  }
}

void job_set_key(struct job *job, const uint64_t key[2], uint32_t args) {
  LOCK_SCOPE(&job->service->jobs_lock);
  struct job **head = &job->service->jobs->keys[key[1] % JOB_KEYS];
  job->key[0] = key[0];
  job->key[1] = key[1];
  job->key_args = args;
  job->key_next = *head;
  *head = job;
}

struct job *job_by_key(struct service *service, const uint64_t key[2], uint32_t *args) {
  LOCK_SCOPE(&service->jobs_lock);
  forget_old(service->jobs);
  struct job *job = service->jobs->keys[key[1] % JOB_KEYS];
  while (job && (job->key[0] != key[0] || job->key[1] != key[1]))
    job = job->key_next;
  if (!job)
    return NULL;
  *args = job->key_args;
  return job_keep(job);
}
