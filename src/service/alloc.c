/*
 * alloc: allocate, up to the point where nothing more can be said against it: what is named exists,
 * whose it will be, whether it was asked for before. From there on it is a `making`.
 */
#include "service/alloc.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/spawn.h"
#include "service/job_work.h"
#include "service/lease.h"
#include "service/making.h"

static uint32_t args_hash(const struct alloc_params *params) {
  uint64_t words[] = {params->size_bytes,
                      params->alignment_bytes,
                      (uint64_t)params->memory,
                      (uint64_t)params->purpose,
                      (uint64_t)params->priority,
                      (uint64_t)params->share,
                      (uint64_t)params->strategy,
                      params->persistent,
                      params->pinned,
                      params->zero,
                      params->commit,
                      params->ttl_seconds,
                      params->owner_pid};
  XXH64_hash_t device = XXH3_64bits(params->device, strlen(params->device));
  XXH64_hash_t label = XXH3_64bits_withSeed(params->label, strlen(params->label), device);
  return (uint32_t)XXH3_64bits_withSeed(words, sizeof words, label);
}

/* What can be judged without the lock. */
static enum status check(const struct service *s, struct making *making) {
  const struct alloc_params *params = &making->params;
  struct problem *problem = &making->problem;
  if (choice_named(s, params->device, params->memory, &making->named, problem))
    return problem->status;
  if (!params->owner_pid)
    return STATUS_OK;
  if (params->owner_pid <= INT32_MAX)
    making->pid_start = spawn_start_time((int32_t)params->owner_pid);
  if (!making->pid_start)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "ownerPid", "no process %llu",
                         (unsigned long long)params->owner_pid);
  return STATUS_OK;
}

static uint8_t flags_of(const struct alloc_params *params) {
  unsigned flags = (params->persistent ? STATE_PERSISTENT : 0U) |
                   (params->pinned ? STATE_PINNED : 0U) |
                   (params->share == VIEW_SHARE_READ    ? STATE_SHARE_READ
                    : params->share == VIEW_SHARE_WRITE ? STATE_SHARE_WRITE
                                                        : 0U);
  return (uint8_t)flags;
}

/* Under the lock: whose it will be, and what its record will say. */
static enum status describe(struct service *s, struct making *making) {
  const struct alloc_params *params = &making->params;
  const struct caller *caller = &making->caller;
  int32_t pid = params->owner_pid ? (int32_t)params->owner_pid : caller->pid;
  uint64_t start = params->owner_pid ? making->pid_start : caller->pid_start;
  /* A time or persistence unties the memory from the process that asked. */
  if (!params->owner_pid && (params->persistent || params->ttl_seconds))
    pid = 0, start = 0;
  uint32_t owner = lease_owner(s, caller, pid, start);
  if (!owner)
    return problem_set(&making->problem, STATUS_QUOTA_EXCEEDED, "too many owners");
  making->facts = (struct record_facts){.size = params->size_bytes,
                                        .alignment = params->alignment_bytes,
                                        .key_args = args_hash(params),
                                        .owner = owner,
                                        .purpose = (uint8_t)params->purpose,
                                        .priority = (uint8_t)params->priority,
                                        .flags = flags_of(params),
                                        .label = params->label,
                                        .correlation = caller->correlation};
  if (params->ttl_seconds)
    making->facts.expires_boot_ns = clock_boot() + state_ns(params->ttl_seconds, CLOCK_SECOND);
  keys_hash(caller, making->facts.key);
  return STATUS_OK;
}

/* What became, or is becoming, of the same key before; NOT_FOUND: it is new. */
static enum status repeated(struct service *s, struct making *making, struct alloc_made *out) {
  uint32_t index = keys_find(s, making->facts.key);
  struct keys_pending *pending = index ? NULL : keys_find_pending(s, making->facts.key);
  if (!index && !pending)
    return STATUS_NOT_FOUND;
  uint32_t args = pending ? pending->args : state_record(s, state_alloc(s, index))->key_args;
  if (args != making->facts.key_args)
    return problem_set(&making->problem, STATUS_CONFLICT,
                       "this Idempotency-Key came with other arguments before");
  out->placement.reason = "made before with this key";
  if (pending) {
    out->job = job_keep(pending->job);
    return STATUS_PENDING;
  }
  making_answer(s, index, &out->answer);
  out->placement.device_id = out->answer.allocation.device_id;
  return STATUS_OK;
}

static enum status dry_run(const struct service *s, const struct making *making,
                           struct alloc_made *out) {
  struct placement_verdict verdicts[VIEW_DEVICES];
  struct choice choice = {&making->params, making->named, making->facts.owner,
                          waiting_held(s, making->params.priority)};
  choice_rank(s, &choice, verdicts);
  choice_tell(s, &choice, verdicts, &out->placement);
  if (!out->placement.device_id)
    making_foretell(making, out);
  return STATUS_OK;
}

/* Under the lock. PENDING without out->job: `making` is its chain's. */
static enum status start(struct service *s, struct making *making, struct alloc_made *out,
                         bool *placed) {
  if (s->stopping)
    return problem_set(&making->problem, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
  enum status status = describe(s, making);
  if (status)
    return status;
  if (making->params.dry_run)
    return dry_run(s, making, out);
  status = repeated(s, making, out);
  return status == STATUS_NOT_FOUND ? making_start(making, out, placed) : status;
}

enum status alloc_make(struct service *s, const struct caller *caller,
                       const struct alloc_params *params, struct alloc_made *out,
                       struct problem *problem) {
  struct making *making = calloc(1, sizeof *making);
  struct job *job = making ? job_make(s, &(struct job_params){.kind = JOB_ALLOCATE,
                                                              .caller = caller,
                                                              .cancellable = true})
                           : NULL;
  if (!job) {
    free(making);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  }
  making->service = s;
  making->params = *params;
  making->caller = *caller;
  making->job = job_keep(job);
  bool placed = false;
  out->job = NULL;
  out->placement = (struct alloc_placement){0};
  out->eviction.count = 0;
  enum status status = check(s, making);
  if (!status) {
    LOCK_SCOPE(&s->lock);
    status = start(s, making, out, &placed);
  }
  if (status == STATUS_PENDING && !out->job) {
    out->job = job;
    if (placed)
      making_go(making);
    return status;
  }
  *problem = making->problem;
  job_give(job);
  job_give(job);
  free(making);
  return status;
}
