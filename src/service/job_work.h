/*
 * job_work: the service's side of job.h: making, running and finishing jobs. Private to this room.
 * All of it takes the jobs lock by itself and may be called with the state lock held, unless a
 * comment says otherwise.
 */
#ifndef SERVICE_JOB_WORK_H
#define SERVICE_JOB_WORK_H

#include "service/job.h"
#include "service/job_record.h"

struct job_table;

enum status job_table_create(struct job_table **out);
void job_table_free(struct job_table *jobs);

struct job_params {
  enum job_kind kind;
  const struct caller *caller;
  uint64_t id; /* 0: unlisted */
  uint64_t bytes_total;
  bool cancellable; /* its mover task, named by the job's id, is cancelled; the work asks
                       job_cancelled between steps; what waits for memory waits no longer */
  const struct job_transfer *transfer; /* what is known of one at its start, else NULL */
  struct job_record record;            /* key, key_args, source and target, where there are any */
};
/* A new job with one reference, the work's own, which job_finish gives back. A listed one is in the
 * ledger from here on, and is made under the state lock. NULL: no memory, or too many unfinished.
 */
struct job *job_make(struct service *service, const struct job_params *params);
/* Of a listed job. Takes the state lock. */
void job_running(struct job *job);
/* Takes the state lock. Hands a task to the mover, as the job's: its subject and correlation are; a
 * cancel that came before it is said again. The task may be over when this returns. */
struct mover_task;
void job_submit(struct job *job, struct mover_task *task);
/* Also told as an event, a few times a second. */
void job_progress(struct job *job, uint64_t bytes_done);
bool job_cancelled(struct job *job);
/* As job_wait; for as long as it waits `told` is posted on the decision thread at each progress. */
bool job_watch(struct job *job, struct job_waiter *waiter, struct task *told);
/* `task` is posted on the decision thread when the job is cancelled, or now if it was; NULL: no
 * longer. An end of the job ends it too. */
void job_on_cancel(struct job *job, struct task *task);
/* Of listed jobs; takes the state lock. The job waits for the other's work: it has the other's
 * progress and beginning as they are now. Nothing happens unless that is running. */
void job_follow(struct job *job, const struct job *other);
/* Takes the state lock: it followed for nothing, and is where it was before. */
void job_unfollow(struct job *job);
const char *job_correlation(const struct job *job);
uint64_t job_id(const struct job *job);
/* Changes the result (fn runs under the jobs lock). Of a finished job under the state lock, and
 * only numbers: its record is changed too. */
void job_update(struct job *job, void (*fn)(struct job_view *view, void *arg), void *arg);
/* Under the state lock, right before the step that makes the result of a transfer real, when the
 * view names its target allocation: should a crash come between that step and job_finish, the job
 * reads completed afterwards. */
void job_promise(struct job *job);
/* The end: state from the problem (OK, CANCELLED or failed); calls the waiters; gives the work's
 * reference back. Takes the state lock if the job is listed: the ledger knows before they do. */
void job_finish(struct job *job, const struct problem *problem);
/* Under the state lock: a job that never began, because its request was refused after all: as if it
 * had not been made. */
void job_forget(struct job *job);
/* Unfinished ones that are listed. */
uint32_t job_unfinished(struct service *service);
void job_cancel_all(struct service *service);
/* A listed job with this idempotency hash, or NULL; takes a reference. *args: what its arguments
 * hashed to. */
struct job *job_by_key(struct service *service, const uint64_t key[2], uint32_t *args);

/* What job_record_read found, by rising id, before there are others; both are settled
 * (job_record_settle). Then job_table_adopted once.
 * INTERNAL_ERROR: no memory. */
enum status job_table_adopt(struct service *service, struct job_record *record,
                            struct job_view *view);
enum status job_table_adopted(struct service *service);

#endif
