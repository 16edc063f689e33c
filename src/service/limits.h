/*
 * limits: what may be used, changed at run time and kept in the ledger; and the pressure
 * thresholds, one set for the daemon and its workers.
 */
#ifndef SERVICE_LIMITS_H
#define SERVICE_LIMITS_H

#include "base/problem.h"
#include "memory/pressure.h"
#include "service/caller.h"

struct service;

#define LIMITS_QUOTAS 64
struct limits_quota {
  char domain[40];
  uint64_t max_bytes, max_allocations; /* UINT64_MAX: none */
};
struct limits_set {
  bool has_max, has_reserved, has_quotas; /* what to change; the rest stays */
  bool configured;                        /* said at every start: not kept over one */
  uint64_t max_bytes, reserved_bytes;
  struct limits_quota quotas[LIMITS_QUOTAS];
  uint32_t quota_count;
};
/* Answers what holds now in *set (all has_… true). A limit below what is in use is allowed: over
 * limit, nothing new. */
enum status limits_change(struct service *service, const struct caller *caller, const char *name,
                          struct limits_set *set, struct problem *problem);
struct pressure_thresholds limits_thresholds(struct service *service);
enum status limits_change_thresholds(struct service *service, const struct caller *caller,
                                     const struct pressure_thresholds *thresholds,
                                     struct problem *problem);

#endif
