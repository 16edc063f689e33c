/*
 * advice: what could be done for a device's memory now, in the order in which it should be: what
 * costs nobody anything comes first. Rules judge bytes that could come back, not percent.
 */
#ifndef SERVICE_ADVICE_H
#define SERVICE_ADVICE_H

#include "memory/pressure.h"
#include "service/caller.h"
#include "service/leaks.h"

struct service;

enum advice_kind {
  ADVICE_CACHE,      /* empty segments, spare copies of models, workers' caches */
  ADVICE_DEFRAGMENT, /* segments that would be empty if blocks were moved together */
  ADVICE_MODELS,     /* models that nobody uses, at high pressure */
  ADVICE_LOST,       /* allocations whose bytes are gone for good: they only fill quotas */
  ADVICE_LEAK,       /* what an owner whose bytes only rise has left lying about */
  ADVICE_QUOTA,      /* a domain near its quota has allocations that nobody touches */
  ADVICE_IDLE,       /* allocations that nobody has attached or touched for an hour */
  ADVICE_LIMIT,      /* more is promised than the limit allows: nothing new is given out */
  ADVICE_FULL_SOON,  /* use rises, and the device is full within an hour: all of these at once */
  ADVICE_KINDS
};

#define ADVICE_IDLE_SECONDS 3600
#define ADVICE_LEAK_SECONDS 300 /* a leaking owner's allocation counts as idle after */
#define ADVICE_SOON_SECONDS 3600.0

struct advice_sum {
  uint64_t bytes;
  uint32_t allocations;
};
struct advice_quota { /* of one domain; UINT64_MAX: there is none */
  char domain[40];
  uint64_t bytes, max_bytes, allocations, max_allocations;
  struct advice_sum idle;
};
/* Of one device, or of a domain's quota alone; bytes that could come back, by what would bring
 * them. */
struct advice_facts {
  enum pressure_level level;
  uint32_t percent; /* of the pressure, hundredths */
  uint64_t committed_bytes, allocated_bytes, limit_bytes;
  uint64_t cached_bytes, spare_bytes, releasable_bytes, model_bytes; /* spare: copies in RAM */
  uint32_t releasable_segments;
  struct advice_sum idle, lost;
  struct leak leak;         /* the fastest */
  struct advice_sum leaked; /* of its owner, idle */
  struct advice_quota quota;
  double seconds_to_full; /* < 0: it does not rise */
};
struct advice {
  enum advice_kind kind;
  enum pressure_level urgency;
  uint32_t device; /* report_device_id; UINT32_MAX: of none, it is about a quota */
  uint64_t expected_bytes;
  struct advice_facts facts;
};
#define ADVICE_QUOTAS 16                                 /* domains that are looked at */
#define ADVICE_MAX (64UL * ADVICE_KINDS + ADVICE_QUOTAS) /* as many devices as there may be */

/* Pure: what the facts call for, by rising kind; `device` is the caller's to fill in. */
uint32_t advice_judge(const struct advice_facts *facts, struct advice out[ADVICE_KINDS]);
/* Of all devices and quotas (UINT32_MAX) or one device, by rising kind, the most bytes first; at
 * most `max`. Walks allocations: not for every request. */
uint32_t advice_make(struct service *service, uint32_t device, struct advice *out, uint32_t max);
/* Whether an optimisation does it unasked: it takes nothing that anybody may still want as it is.
 */
bool advice_is_safe(enum advice_kind kind);

#endif
