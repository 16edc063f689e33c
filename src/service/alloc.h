/*
 * alloc: allocate, free, look at and list allocations.
 */
#ifndef SERVICE_ALLOC_H
#define SERVICE_ALLOC_H

#include "service/job.h"
#include "service/model.h"

struct alloc_params {
  char device[80]; /* id, UUID or PCI address; "" = best device */
  uint64_t size_bytes, alignment_bytes;
  int memory;                             /* enum placement_memory */
  int purpose, priority, share, strategy; /* enum view_…, enum placement_strategy */
  char label[VIEW_LABEL];
  bool persistent, pinned, zero, commit, evict, dry_run;
  uint64_t ttl_seconds, owner_pid, wait_ms; /* 0: not said */
};
#define ALLOC_PARAMS_DEFAULT                                                                       \
  ((struct alloc_params){                                                                          \
      .alignment_bytes = 256, .purpose = VIEW_BUFFERS, .priority = VIEW_PRIORITY_NORMAL})

/* Where it went and why; candidates best first. */
struct alloc_placement {
  const char *device_id; /* NULL: nowhere */
  const char *reason;
  uint32_t count;
  struct {
    const char *device_id;
    int64_t score;
    const char *rejected;
  } candidates[VIEW_DEVICES];
};

struct alloc_made {
  struct job_allocate answer;
  struct alloc_placement placement;
  struct model_plan eviction; /* dry_run: who would go for it with evict; else its count is 0 */
  struct job *
      job; /* PENDING: the caller's reference; result.allocate becomes the answer. NULL otherwise */
};

/* OK: out->answer is filled. PENDING: wait for out->job. With dry_run: OK, and placement.device_id
 * NULL means that it would not fit. 507s fill problem->space. */
enum status alloc_make(struct service *service, const struct caller *caller,
                       const struct alloc_params *params, struct alloc_made *out,
                       struct problem *problem);

struct alloc_freed {
  struct job_free answer;
  struct job
      *job; /* PENDING: its own segment is given back first; result.free becomes the answer */
};
/* Attached, pinned or persistent without force: ALLOCATION_BUSY. Another domain's: FORBIDDEN unless
 * admin. */
struct alloc_victim {
  uint64_t id;
  bool force;
};
enum status alloc_free(struct service *service, const struct caller *caller,
                       const struct alloc_victim *victim, struct alloc_freed *out,
                       struct problem *problem);

struct alloc_history {
  uint64_t time;
  const char *event; /* "created" ... static */
  char detail[96];
};
#define ALLOC_HISTORY 64
struct alloc_looked {
  struct view_alloc allocation;
  struct alloc_history history[ALLOC_HISTORY]; /* the newest ones, oldest first */
  uint32_t history_count;
  bool history_truncated;
};
enum status alloc_look(struct service *service, uint64_t id, struct alloc_looked *out,
                       struct problem *problem);

enum alloc_sort { ALLOC_BY_CREATED, ALLOC_BY_SIZE, ALLOC_BY_ACCESS };
struct alloc_filter {
  char device[80], owner[80], label[VIEW_LABEL], model[80],
      cursor[64]; /* "": any. owner: owner id or name */
  int purpose;    /* -1: any */
  int sort;       /* enum alloc_sort */
  bool ascending;
  uint64_t limit; /* 1 … 1000 */
};
struct alloc_page {
  struct view_alloc *allocations; /* malloced, `count` of them: free() */
  uint32_t count;
  bool totals_known;
  uint64_t total_allocations, total_bytes;
  char next_cursor[64]; /* "": no more */
};
enum status alloc_list(struct service *service, const struct alloc_filter *filter,
                       struct alloc_page *out, struct problem *problem);

#endif
