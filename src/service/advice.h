/*
 * advice: what could be done for a device's memory now, in the order in which it should be: what
 * costs nobody anything comes first. Rules judge bytes that could come back, not percent.
 */
#ifndef SERVICE_ADVICE_H
#define SERVICE_ADVICE_H

#include "memory/pressure.h"
#include "service/caller.h"

struct service;

enum advice_kind {
  ADVICE_CACHE,      /* empty segments, spare copies of models, workers' caches */
  ADVICE_DEFRAGMENT, /* segments that would be empty if blocks were moved together */
  ADVICE_MODELS,     /* models that nobody uses, at high pressure */
  ADVICE_IDLE,       /* allocations that nobody has attached or touched for an hour */
  ADVICE_FULL_SOON,  /* use rises, and the device is full within an hour: all of these at once */
  ADVICE_KINDS
};

#define ADVICE_IDLE_SECONDS 3600
#define ADVICE_SOON_SECONDS 3600.0

/* Of one device; bytes that could come back, by what would bring them. */
struct advice_facts {
  enum pressure_level level;
  uint32_t percent; /* of the pressure, hundredths */
  uint64_t committed_bytes, allocated_bytes;
  uint64_t cached_bytes, releasable_bytes, model_bytes, idle_bytes;
  uint32_t releasable_segments, idle_allocations;
  double seconds_to_full; /* < 0: it does not rise */
};
struct advice {
  enum advice_kind kind;
  uint32_t device; /* report_device_id */
  uint64_t expected_bytes;
  struct advice_facts facts;
};
#define ADVICE_MAX (64UL * ADVICE_KINDS) /* as many devices as there may be */

/* Pure: what the facts of a device call for, by rising kind; `device` is the caller's to fill in.
 */
uint32_t advice_judge(const struct advice_facts *facts, struct advice out[ADVICE_KINDS]);
/* Of all devices (UINT32_MAX) or one, by rising kind, the most bytes first; at most `max`. Walks
 * allocations: not for every request. */
uint32_t advice_make(struct service *service, uint32_t device, struct advice *out, uint32_t max);
/* Whether an optimisation does it unasked: it takes nothing that anybody may still want as it is.
 */
bool advice_is_safe(enum advice_kind kind);

#endif
