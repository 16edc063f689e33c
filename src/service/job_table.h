/*
 * job_table: the jobs that are listed: by id, by idempotency key, and the finished ones by their
 * end, the oldest of which are forgotten. Private to job.c; under the jobs lock, and under the
 * state lock too where a comment says so, because the ledger's records change with it.
 */
#ifndef SERVICE_JOB_TABLE_H
#define SERVICE_JOB_TABLE_H

#include "service/job_pack.h"
#include "service/job_record.h"
#include "service/job_work.h"
#include "service/state.h"

/* What a job needs until it ends. */
struct job_running {
  struct job_view view;
  char correlation[65];
  struct job_waiter *waiters;
  struct task *on_cancel; /* NULL: nobody is told */
  bool cancellable, cancel_asked;
  uint64_t began_ns; /* 0: its first task was handed over */
  uint64_t running_ns, told_ns;
};

struct job {
  atomic_uint references;
  uint32_t index; /* its place in the table */
  struct service *service;
  uint64_t id; /* 0: unlisted */
  enum job_kind kind;
  bool finished;
  struct job_running *running; /* NULL: it is packed */
  struct job_pack *pack; /* of a finished one that is listed; NULL: there was no memory for it */
  struct job_record record;
  int64_t finished_ns; /* on clock_now(); below 0: before the machine started */
  struct job *key_next;
  struct job *older; /* finished ones, oldest first */
};

/* What it occupies. */
size_t job_table_bytes(const struct job *job);

/* Under both locks: an unfinished job enters, with its record. False: no room, nothing happened. */
bool job_table_enter(struct service *s, struct job *job);
/* Under both locks: an unfinished one leaves, with its record; the reference stays. */
void job_table_leave(struct service *s, struct job *job);
/* Under both locks: it has just finished; the reference is the table's now. */
void job_table_end(struct service *s, struct job *job);
/* Borrowed; NULL: none, or one that is due to be forgotten. */
struct job *job_table_find(const struct service *s, uint64_t id);
struct job *job_table_find_key(const struct service *s, const uint64_t key[2]);
/* The first of those with an id > after, NULL at the end. */
struct job *job_table_next(const struct service *s, uint64_t after);
/* The last of those with an id < before, UINT64_MAX: of all. */
struct job *job_table_prev(const struct service *s, uint64_t before);
uint32_t job_table_unfinished(const struct service *s);

#endif
