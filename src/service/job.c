/*
 * job: see job_work.h for the making and job.h for the looking. A job is a view under the jobs
 * lock, a list of waiters and a reference count. Once finished it changes no more, but
 * for what a transfer did afterwards: a listed one is packed then, and what only a running one
 * needs is freed. Listed ones are in the table (job_table.h) and in the ledger, which is changed
 * under the state lock: both locks are held where such a job begins, runs and ends.
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
  if (!job || atomic_fetch_sub(&job->references, 1) != 1)
    return;
  free(job->running);
  free(job->pack);
  free(job);
}

struct job *job_keep(struct job *job) {
  atomic_fetch_add(&job->references, 1);
  return job;
}

static struct job *blank(struct service *s) {
  struct job *job = calloc(1, sizeof *job);
  if (!job)
    return NULL;
  atomic_init(&job->references, 1);
  job->service = s;
  job->running = calloc(1, sizeof *job->running);
  if (job->running)
    return job;
  free(job);
  return NULL;
}

static void begin(struct job *job, const struct job_params *params) {
  struct job_running *running = job->running;
  job->id = running->view.id = params->id;
  job->kind = running->view.kind = params->kind;
  job->record = params->record;
  running->view.created_at = clock_real();
  running->view.bytes_total = params->bytes_total;
  running->began_ns = clock_now();
  running->cancellable = params->cancellable;
  if (params->transfer)
    running->view.result.transfer = *params->transfer;
  if (!params->caller)
    return;
  job->record.domain = params->caller->domain;
  memcpy(running->correlation, params->caller->correlation, sizeof running->correlation);
}

struct job *job_make(struct service *service, const struct job_params *params) {
  struct job *job = blank(service);
  if (!job)
    return NULL;
  begin(job, params);
  if (!params->id)
    return job;
  state_ledger_ahead(service);
  lock_take(&service->jobs_lock);
  bool entered = job_table_enter(service, job);
  lock_give(&service->jobs_lock);
  if (entered)
    return job;
  job_give(job);
  return NULL;
}

/* Under the state lock. */
static void note_running(struct job *job) {
  LOCK_SCOPE(&job->service->jobs_lock);
  struct job_running *running = job->running;
  if (job->finished || running->view.state != JOB_PENDING)
    return;
  running->view.state = JOB_RUNNING;
  running->view.started_at = clock_real();
  running->running_ns = running->told_ns = clock_now();
  job_record_replace(job->service, &job->record, &running->view);
}

void job_running(struct job *job) {
  LOCK_SCOPE(&job->service->lock);
  note_running(job);
}

/* Of its first task; its later ones begin when they are handed over. */
static uint64_t take_beginning(struct job *job) {
  LOCK_SCOPE(&job->service->jobs_lock);
  uint64_t began_ns = job->running->began_ns;
  job->running->began_ns = 0;
  return began_ns;
}

void job_submit(struct job *job, struct mover_task *task) {
  struct service *s = job->service;
  job_keep(job);
  job_running(job);
  task->subject = job->id;
  memcpy(task->correlation, job_correlation(job), sizeof task->correlation);
  layers_submit(s, task, take_beginning(job));
  if (job_cancelled(job))
    s->mover->cancel(s->mover_ctx, job->id);
  job_give(job);
}

static void measure(struct job_running *running, uint64_t bytes_done, uint64_t now) {
  uint64_t elapsed = units_max(now - running->running_ns, 1);
  running->view.bytes_done = bytes_done;
  running->view.bytes_per_second =
      (uint64_t)((unsigned __int128)bytes_done * CLOCK_SECOND / elapsed);
}

/* Under the jobs lock. False: the event before it is too young. */
static bool progress_event(struct job_running *running, uint64_t now, struct events_record *out) {
  const struct job_view *view = &running->view;
  if (now - running->told_ns < JOB_TOLD_NS)
    return false;
  running->told_ns = now;
  *out = (struct events_record){.type = EVENTS_JOB_PROGRESS,
                                .subject = view->id,
                                .bytes = view->bytes_done,
                                .other = view->bytes_total,
                                .other_device = (uint8_t)view->kind,
                                .detail = (uint8_t)view->state};
  events_set_text(out, running->correlation);
  return true;
}

/* Under the jobs lock. */
static void tell_watchers(const struct job *job) {
  for (struct job_waiter *waiter = job->running->waiters; waiter; waiter = waiter->next)
    if (waiter->told)
      queue_post(job->service->decision, waiter->told);
}

void job_progress(struct job *job, uint64_t bytes_done) {
  uint64_t now = clock_now();
  struct events_record event;
  bool tell = false;
  lock_take(&job->service->jobs_lock);
  if (!job->finished) {
    measure(job->running, bytes_done, now);
    tell_watchers(job);
    tell = progress_event(job->running, now, &event);
  }
  lock_give(&job->service->jobs_lock);
  if (tell)
    events_add(job->service->events, &event);
}

/* Under the state lock. True: *event is to be told. */
static bool follow(struct job *job, const struct job *other, struct events_record *event) {
  LOCK_SCOPE(&job->service->jobs_lock);
  if (job->finished || other->finished || other->running->view.state != JOB_RUNNING)
    return false;
  struct job_running *own = job->running;
  const struct job_running *its = other->running;
  bool begins = own->view.state == JOB_PENDING;
  own->view.state = JOB_RUNNING;
  own->view.bytes_done = its->view.bytes_done;
  own->view.bytes_total = its->view.bytes_total;
  own->view.bytes_per_second = its->view.bytes_per_second;
  own->view.started_at = its->view.started_at;
  own->running_ns = its->running_ns;
  if (begins)
    job_record_replace(job->service, &job->record, &own->view);
  return progress_event(own, clock_now(), event);
}

void job_follow(struct job *job, const struct job *other) {
  struct events_record event;
  lock_take(&job->service->lock);
  bool tell = follow(job, other, &event);
  lock_give(&job->service->lock);
  if (tell)
    events_add(job->service->events, &event);
}

/* Under the state lock. */
static void unfollow(struct job *job) {
  LOCK_SCOPE(&job->service->jobs_lock);
  struct job_view *view = &job->running->view;
  view->state = JOB_PENDING;
  view->bytes_done = view->bytes_per_second = view->started_at = 0;
  job_record_replace(job->service, &job->record, view);
}

void job_unfollow(struct job *job) {
  LOCK_SCOPE(&job->service->lock);
  unfollow(job);
}

bool job_cancelled(struct job *job) {
  LOCK_SCOPE(&job->service->jobs_lock);
  return !job->finished && job->running->cancel_asked;
}

const char *job_correlation(const struct job *job) { return job->running->correlation; }

uint64_t job_id(const struct job *job) { return job->id; }

void job_update(struct job *job, void (*fn)(struct job_view *view, void *arg), void *arg) {
  LOCK_SCOPE(&job->service->jobs_lock);
  if (job->running) {
    fn(&job->running->view, arg);
    return;
  }
  struct job_view view;
  job_pack_read(job->pack, &view);
  fn(&view, arg);
  struct job_pack *changed = job_pack_make(&view);
  if (!changed)
    return;
  free(job->pack);
  job->pack = changed;
  job_record_replace(job->service, &job->record, &view);
}

void job_forget(struct job *job) {
  lock_take(&job->service->jobs_lock);
  if (job->id)
    job_table_leave(job->service, job);
  lock_give(&job->service->jobs_lock);
  job_give(job);
}

/* The wall clock may be corrected meanwhile: what it took is told by the other one. */
static uint64_t ends_at(const struct job_running *running, uint64_t now) {
  uint64_t started_at = running->view.started_at;
  return started_at ? started_at + (now - running->running_ns) : clock_real();
}

void job_promise(struct job *job) {
  LOCK_SCOPE(&job->service->jobs_lock);
  struct job_view *view = &job->running->view;
  view->bytes_done = view->bytes_total;
  view->completed_at = ends_at(job->running, clock_now());
  job_record_replace(job->service, &job->record, view);
  view->completed_at = 0;
}

static void set_end(struct job *job, const struct problem *problem) {
  struct job_view *view = &job->running->view;
  view->state = problem->status == STATUS_OK          ? JOB_COMPLETED
                : problem->status == STATUS_CANCELLED ? JOB_CANCELLED
                                                      : JOB_FAILED;
  view->problem = *problem;
  uint64_t now = clock_now();
  job->finished_ns = (int64_t)now;
  view->completed_at = ends_at(job->running, now);
  if (problem->status == STATUS_OK && view->bytes_total)
    view->bytes_done = view->bytes_total;
  view->bytes_per_second = job_record_rate(view);
  if (problem->status == STATUS_OK && !view->started_at)
    view->started_at = view->completed_at; /* there was nothing to be done */
}

/* Where there is no memory for that it stays as it is. */
static void pack(struct job *job) {
  job->pack = job_pack_make(&job->running->view);
  if (!job->pack)
    return;
  free(job->running);
  job->running = NULL;
}

/* Under the state lock if it is listed: its record says how it ended before anyone sees it. */
static struct job_waiter *finish_locked(struct job *job, const struct problem *problem) {
  struct service *s = job->service;
  LOCK_SCOPE(&s->jobs_lock);
  set_end(job, problem);
  job->finished = true;
  struct job_waiter *waiters = job->running->waiters;
  job->running->waiters = NULL;
  if (!job->id)
    return waiters;
  /* A listed job keeps the work's reference as the table's; it goes when the job is forgotten. */
  job_record_replace(s, &job->record, &job->running->view);
  pack(job);
  job_table_end(s, job);
  return waiters;
}

static struct job_waiter *finish_listed(struct job *job, const struct problem *problem) {
  LOCK_SCOPE(&job->service->lock);
  state_ledger_ahead(job->service);
  return finish_locked(job, problem);
}

void job_finish(struct job *job, const struct problem *problem) {
  bool listed = job->id != 0;
  struct job_waiter *waiter = listed ? finish_listed(job, problem) : finish_locked(job, problem);
  for (struct job_waiter *next; waiter; waiter = next) {
    next = waiter->next;
    waiter->ready(waiter);
  }
  if (!listed)
    job_give(job);
}

void job_on_cancel(struct job *job, struct task *task) {
  LOCK_SCOPE(&job->service->jobs_lock);
  if (job->finished)
    return;
  job->running->on_cancel = task;
  if (task && job->running->cancel_asked)
    queue_post(job->service->decision, task);
}

bool job_wait(struct job *job, struct job_waiter *waiter) { return job_watch(job, waiter, NULL); }

bool job_watch(struct job *job, struct job_waiter *waiter, struct task *told) {
  LOCK_SCOPE(&job->service->jobs_lock);
  if (job->finished)
    return false;
  waiter->told = told;
  waiter->next = job->running->waiters;
  job->running->waiters = waiter;
  return true;
}

bool job_unwait(struct job *job, struct job_waiter *waiter) {
  LOCK_SCOPE(&job->service->jobs_lock);
  if (job->finished)
    return false;
  for (struct job_waiter **link = &job->running->waiters; *link; link = &(*link)->next) {
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
  bool alone = !job->id && !job->running->waiters;
  lock_give(&job->service->jobs_lock);
  if (alone)
    (void)job_cancel(job, &nobody, &ignored);
  return true;
}

/* Under the jobs lock. */
static void look(const struct job *job, struct job_view *out) {
  if (job->pack)
    job_pack_read(job->pack, out);
  else
    *out = job->running->view;
}

static enum job_state state_of(const struct job *job) {
  return job->pack ? job_pack_state(job->pack) : job->running->view.state;
}

void job_look(struct job *job, struct job_view *out) {
  LOCK_SCOPE(&job->service->jobs_lock);
  look(job, out);
}

enum status job_find(struct service *service, uint64_t id, bool transfers_only, struct job **out) {
  LOCK_SCOPE(&service->jobs_lock);
  struct job *job = job_table_find(service, id);
  if (!job || (transfers_only && job->kind != JOB_TRANSFER))
    return transfers_only ? STATUS_TRANSFER_NOT_FOUND : STATUS_NOT_FOUND;
  *out = job_keep(job);
  return STATUS_OK;
}

enum status job_cancel(struct job *job, const struct caller *caller, struct problem *problem) {
  struct service *service = job->service;
  if (caller->role != CALLER_ADMIN && caller->domain != job->record.domain)
    return problem_set(problem, STATUS_FORBIDDEN, "the job belongs to another domain");
  lock_take(&service->jobs_lock);
  bool can = !job->finished && job->running->cancellable;
  bool first = can && !job->running->cancel_asked;
  if (can)
    job->running->cancel_asked = true;
  if (first && job->running->on_cancel)
    queue_post(service->decision, job->running->on_cancel);
  lock_give(&service->jobs_lock);
  if (!can)
    return problem_set(problem, STATUS_CONFLICT, "the job is finished, or cannot be cancelled");
  if (!first)
    return STATUS_OK;
  if (job->id) {
    service->mover->cancel(service->mover_ctx, job->id);
    return STATUS_OK;
  }
  LOCK_SCOPE(&service->lock);
  waiting_cancel(service, job);
  return STATUS_OK;
}

void job_visit_transfers(struct service *service,
                         void (*fn)(const struct job_view *view, void *arg), void *arg) {
  struct job_view view;
  LOCK_SCOPE(&service->jobs_lock);
  struct job *job = job_table_next(service, 0);
  for (; job; job = job_table_next(service, job->id)) {
    if (job->kind != JOB_TRANSFER)
      continue;
    look(job, &view);
    fn(&view, arg);
  }
}

static bool is_asked_for(const struct job *job, const struct job_list *params) {
  return (params->kind == JOB_ANY || (int)job->kind == params->kind) &&
         (params->state == JOB_ANY || (int)state_of(job) == params->state);
}

static struct job *next_of(const struct service *s, const struct job_list *params, uint64_t id) {
  if (!params->newest_first)
    return job_table_next(s, id);
  return job_table_prev(s, id ? id : UINT64_MAX);
}

uint32_t job_list(struct service *service, const struct job_list *params, struct job **out,
                  uint64_t *next) {
  LOCK_SCOPE(&service->jobs_lock);
  uint32_t count = 0;
  struct job *job = next_of(service, params, params->cursor);
  for (; job; job = next_of(service, params, job->id)) {
    if (!is_asked_for(job, params))
      continue;
    if (count == params->max)
      break;
    out[count++] = job_keep(job);
  }
  *next = job ? out[count - 1]->id : 0;
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
      after = job_keep(job)->id;
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
