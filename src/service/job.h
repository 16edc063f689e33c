/*
 * job: anything whose answer comes later. Counted references; finished exactly once; then
 * immutable. Listed jobs (id != 0) are kept one hour, at most 10,000 finished ones and 8 MiB of
 * them, also over a restart, which ends what was under way; unlisted ones (id 0) only carry a
 * waiting answer (an allocation that needs a new segment, a refresh).
 */
#ifndef SERVICE_JOB_H
#define SERVICE_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/queue.h"
#include "model/estimate.h"
#include "service/caller.h"
#include "service/view.h"

struct service;

enum job_kind {
  JOB_TRANSFER,
  JOB_COPY,
  JOB_FILL,
  JOB_DEFRAGMENT,
  JOB_CLEAR,
  JOB_ALLOCATE,
  JOB_FREE,
  JOB_REFRESH,
  JOB_RESTART,
  JOB_LOAD,
  JOB_UNLOAD, /* also to ram: a park */
  JOB_OPTIMIZE,
  JOB_APPLY, /* advice */
  JOB_KINDS  /* their numbers are in ledgers: new ones go above this line only */
};
enum job_state { JOB_PENDING, JOB_RUNNING, JOB_COMPLETED, JOB_FAILED, JOB_CANCELLED };
/* "transfer" "copy" "fill" "defragment" "clear" "allocate" "free" "refresh" "restart" "load"
 * "unload" "optimize" "apply" */
extern const char *const job_kinds[];
/* "pending" "in_progress" "completed" "failed" "cancelled" */
extern const char *const job_states[];

struct job_transfer {
  char source_device[SPEC_ID], target_device[SPEC_ID];
  uint64_t allocation, target_allocation; /* 0: none (trial, or a model) */
  uint64_t model, target_model;           /* 0: none */
  bool move, trial, verify;
  enum device_path path;
  bool path_known;
  uint64_t size_bytes;
  bool verified, verified_known;
  bool checksum_known;
  uint64_t checksum;
  bool effects_known;      /* what it did to models: effects.h */
  uint8_t waited, evicted; /* 255: or more */
};
struct job_bytes { /* copy and fill */
  uint64_t bytes, checksum;
  bool checksum_known;
};
struct job_defrag_device {
  const char *device_id;
  uint64_t moved_bytes, released_bytes, largest_before, largest_after;
  uint32_t allocations_moved, segments_released, fragmentation_before, fragmentation_after;
};
struct job_defrag {
  struct job_defrag_device total;
  uint32_t device_count;
  struct job_defrag_device devices[VIEW_DEVICES];
};
struct job_clear_device {
  const char *device_id;
  uint64_t cleared_bytes, used_before, used_after;
};
struct job_clear {
  uint64_t cleared_bytes, cleared_allocations;
  uint32_t device_count, worker_count;
  struct job_clear_device devices[VIEW_DEVICES];
  struct {
    char id[40];
    uint64_t cleared_bytes;
  } workers[VIEW_CLEARED];
};
struct job_allocate {
  struct view_alloc allocation;
  uint64_t available_bytes;
  uint32_t utilization;
};
struct job_free {
  uint64_t allocation, freed_bytes, available_bytes;
};

#define JOB_HOLDERS 16
#define JOB_VICTIMS 64
struct job_model { /* load and unload */
  uint64_t model, freed_bytes;
  bool confirmed;        /* the driver's figure fell (host memory: the last descriptor is closed) */
  uint32_t holder_count; /* who still holds bytes that were freed; more are not named */
  struct {
    int32_t pid;
    char name[32];
  } holders[JOB_HOLDERS];
};
struct job_trial { /* a load with dry_run: such a job is unlisted (id 0) */
  bool would_fit;
  struct estimate estimate;
  uint32_t count;
  struct {
    uint64_t model, bytes;
    int to; /* enum model_residency: where it would be afterwards */
  } victims[JOB_VICTIMS];
};
/* A worker that did not give what it had promised. */
struct job_broken {
  char worker[40]; /* "": none */
  uint64_t promised_bytes, freed_bytes;
};
struct job_optimize {
  bool triggered;
  char reason[120]; /* why not; "" when triggered */
  int strategy;     /* as it was asked for: index of policy_preset_at */
  uint64_t freed_bytes, time_ms;
  uint32_t utilization_before, utilization_after, impact; /* hundredths of a percent */
  bool impact_unknown;
  struct job_broken broken; /* the last of those that were asked */
  uint32_t count;
  struct {
    uint64_t model;
    int to; /* enum model_residency: where it is now */
  } victims[JOB_VICTIMS];
};

#define JOB_APPLIED 64
struct job_applied {
  int kind; /* enum advice_kind */
  const char *device_id;
  uint64_t expected_bytes, freed_bytes;
};
struct job_apply {
  uint64_t freed_bytes;
  uint32_t count;
  struct job_applied applied[JOB_APPLIED];
};

struct job_waiter {
  void (*ready)(struct job_waiter *waiter); /* on whichever thread finished the job; no lock held */
  struct job_waiter *next;
  struct task *told; /* service/job_work.h; NULL: only of the end */
};

/* What outsiders may read of a job at any time: job_look copies it under the lock. A finished job
 * is kept smaller (job_pack.h): a result's arrays are its end, and the number of used entries comes
 * before them. */
struct job_view {
  uint64_t id;
  enum job_kind kind;
  enum job_state state;
  uint64_t bytes_done, bytes_total, bytes_per_second; /* 0: not known yet */
  uint64_t created_at, started_at, completed_at;
  bool result_lost;       /* it ended before a restart, and its result was not kept */
  struct problem problem; /* why it failed */
  union {
    struct job_transfer transfer;
    struct job_bytes bytes;
    struct job_defrag defrag;
    struct job_clear clear;
    struct job_allocate allocate;
    struct job_free free;
    struct job_model model;
    struct job_trial trial;
    struct job_optimize optimize;
    struct job_apply apply;
  } result;
};

struct job;

/* References. The ones that the service hands out are the caller's to give back. */
void job_give(struct job *job);
struct job *job_keep(struct job *job); /* one more */
/* True: the job is not finished yet and `waiter->ready` will be called once. False: it is finished
 * already. */
bool job_wait(struct job *job, struct job_waiter *waiter);
/* True: taken back, ready will not be called. */
bool job_unwait(struct job *job, struct job_waiter *waiter);
/* The same for a client who hung up: an unlisted job that nobody else waits for is cancelled (an
 * allocation that waits for memory waits no longer). */
bool job_abandon(struct job *job, struct job_waiter *waiter);
void job_look(struct job *job, struct job_view *out);

/* By id; JOB ids and transfer ids are the same numbers. NOT_FOUND or TRANSFER_NOT_FOUND
 * (transfers_only). Takes a reference. */
enum status job_find(struct service *service, uint64_t id, bool transfers_only, struct job **out);
/* CONFLICT when it is finished or of a kind that cannot be cancelled. The job ends as cancelled
 * once its worker let go; wait for it to see that. */
enum status job_cancel(struct job *job, const struct caller *caller, struct problem *problem);
/* Each transfer that is listed, under the lock of the jobs: fn is short. */
void job_visit_transfers(struct service *service,
                         void (*fn)(const struct job_view *view, void *arg), void *arg);
#define JOB_ANY (-1)
struct job_list {
  int kind, state; /* enum job_kind, enum job_state, or JOB_ANY */
  bool newest_first;
  uint64_t cursor; /* only those after it in that order; 0: from the start */
  uint32_t max;    /* room in out */
};
/* Listed jobs by rising or falling id, a reference each into out, the number of them as result;
 * *next is the cursor for more, or 0. */
uint32_t job_list(struct service *service, const struct job_list *params, struct job **out,
                  uint64_t *next);

#endif
