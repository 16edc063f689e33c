/*
 * work: the operations that move or give back many bytes. Each starts a listed job; whoever wants
 * the answer waits for it. The starters do all checks first: a refused request changes nothing and
 * makes no job.
 */
#ifndef SERVICE_WORK_H
#define SERVICE_WORK_H

#include "memory/defrag.h"
#include "service/job.h"

struct work_impact { /* dryRun of a transfer */
  bool would_fit;
  double expected_seconds; /* < 0: null, no transfer over that pair was measured yet */
  uint64_t target_available_after;
  enum pressure_level target_pressure_after, source_pressure_after;
  uint32_t attachments;
  bool of_model; /* these are bytes of a model */
  struct {
    uint64_t id;
    char name[256];
    bool busy;
    double resume_before, resume_after; /* seconds to have it back if it had to go; < 0: null */
  } model;
};
struct work_started {
  struct job *job;           /* the caller's reference; NULL for a dry run */
  struct work_impact impact; /* dry run of a transfer */
  struct job_defrag plan;    /* dry run of a defragmentation */
};

struct work_transfer {
  char source[80], target[80];       /* device id, UUID or PCI address */
  char model[256];                   /* id or name, in place of an allocation; "": none */
  uint64_t allocation;               /* 0: a trial of size_bytes, or a model */
  bool nobody;                       /* what was said for the allocation cannot be an id */
  uint64_t offset_bytes, size_bytes; /* size 0: to the end */
  bool part;                         /* offset or size was said */
  int mode;                          /* 0 copy, 1 move */
  bool verify, dry_run;
  int priority;
};
/* All: OK with out->job, or, for dry_run, with the impact or plan. Anything else is in the problem.
 */
enum status work_transfer_start(struct service *service, const struct caller *caller,
                                const struct work_transfer *params, struct work_started *out,
                                struct problem *problem);

struct work_copy {
  uint64_t source, target, source_offset, target_offset,
      size_bytes; /* size 0: all that fits from the offsets on */
  bool verify;
};
enum status work_copy_start(struct service *service, const struct caller *caller,
                            const struct work_copy *params, struct work_started *out,
                            struct problem *problem);

struct work_fill {
  uint64_t allocation, value, offset_bytes, size_bytes; /* size 0: to the end */
};
enum status work_fill_start(struct service *service, const struct caller *caller,
                            const struct work_fill *params, struct work_started *out,
                            struct problem *problem);

struct work_defragment {
  char device[80]; /* "": all */
  int strategy;    /* enum defrag_strategy */
  uint64_t max_time_seconds;
  int memory; /* enum placement_memory */
  bool dry_run;
};
enum status work_defragment_start(struct service *service, const struct caller *caller,
                                  const struct work_defragment *params, struct work_started *out,
                                  struct problem *problem);

enum work_scope {
  WORK_CLEAR_CACHE,
  WORK_CLEAR_IDLE,
  WORK_CLEAR_ALL,
  WORK_CLEAR_LOST /* allocations whose bytes are gone for good, also protected ones */
};
struct work_clear {
  char device[80]; /* "": all */
  char owner[80];  /* "": all; else allocations of the owner with this id or name, and no more of
                      what others have than empty segments */
  int scope, memory;
  uint64_t idle_seconds;
  bool force;
};
enum status work_clear_start(struct service *service, const struct caller *caller,
                             const struct work_clear *params, struct work_started *out,
                             struct problem *problem);

/* The best of service/advice.h, one after another. Without a target and a least: all that is safe,
 * once. */
struct work_optimize {
  char device[80]; /* "": all */
  bool has_target;
  uint64_t target_percent; /* of each device, at which it stops */
  uint64_t min_bytes;      /* go on until so much came back */
  bool dry_run;
};
struct work_optimized {
  struct job *job;       /* the caller's reference; NULL for a dry run */
  struct job_apply plan; /* dry run: what would be done; freed_bytes as they are expected */
};
enum status work_optimize_start(struct service *service, const struct caller *caller,
                                const struct work_optimize *params, struct work_optimized *out,
                                struct problem *problem);

#endif
