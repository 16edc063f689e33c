/*
 * policy: which models give up their place on a device, and how. Plan only: a pure function from a
 * snapshot of the models on one device to a list of steps; the service carries them out.
 *
 * Relief goes in an order: caches are drained (here: second copies of models that stay where they
 * are wanted, whatever the strategy says of those), then models are parked in RAM, and only when
 * parking alone does not cover the need are models dropped. The victims are
 *   1. the shortest beginning of the strategy's order of which at most max_models cover the need,
 *   2. less those that the others can do without, the most worth keeping first: no victim of a plan
 *      that covers can be left out,
 *   3. or, under COST, that set of the first 14 of the order whose reloads are expected to take
 *      least, by seconds and frequency, bytes freed beyond the need not being lost altogether;
 *      or, under any other strategy, one model instead of several: the first that covers the need
 *      alone among them and as many more of the order as they are, if to have it back is expected
 *      to take no longer (never a pinned one for others, nor under PRIORITY one of a higher).
 *
 * A young model is not a victim: it was loaded to be used, and a device that holds few would do
 * nothing but load. Under COST one that was used and let go is, where others could go in its place:
 * then its credit says whether it will be missed, and most of those that come are seldom wanted.
 *
 * Busy models are never victims; pinned ones only in the last resort, after all others.
 *
 * One snapshot entry stands for one copy of bytes: names that share bytes share an entry.
 * Deterministic: the same snapshot gives the same plan. No locks, any thread.
 */
#ifndef MODEL_POLICY_H
#define MODEL_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum policy_strategy {
  POLICY_FIFO,     /* the longest on the device first */
  POLICY_LRU,      /* the longest not used first */
  POLICY_LFU,      /* the least used lately first */
  POLICY_COST,     /* the least credit first: what it takes to reload, for its bytes and its use */
  POLICY_PRIORITY, /* the lowest priority first, then as LRU */
  POLICY_STRATEGIES
};

/* ---- credit: kept by the caller, a clock per device, a credit per model and device ---- */

/* {0} at the start. Counted in uses, not in time: a night without work changes no order. */
struct policy_clock {
  double level;  /* credit of the best model given up so far; only rises */
  uint64_t uses; /* of all models of the device */
};
/* {0} for a model that was never used. It outlives the model's place on the device. */
struct policy_credit {
  double credit;
  double frequency; /* uses, each of which counts half after 256 more uses of anything */
  uint64_t at;      /* the clock's uses at its last use */
};

/* A load or a use. seconds: what it takes to have it back, as measured; 0: not known yet, then its
 * bytes at 1 GiB/s stand for it (to rank it beside others; never shown). */
void policy_used(struct policy_clock *clock, struct policy_credit *credit, uint64_t bytes,
                 double seconds);
/* It goes to a device of another clock, and its frequency goes along. Its credit is that of its
 * next use there. The same clock changes nothing. */
void policy_moved(const struct policy_clock *from, const struct policy_clock *to,
                  struct policy_credit *credit);
/* It has left the device because it was a victim. Not for an unload that a user asked for. */
void policy_evicted(struct policy_clock *clock, const struct policy_credit *credit);
/* Uses lately, seen from now. */
double policy_frequency(const struct policy_clock *clock, const struct policy_credit *credit);

/* ---- snapshot ---- */

struct policy_model {
  uint64_t user;  /* caller's handle */
  uint64_t bytes; /* that the device gets back */
  uint64_t last_used_ns, resident_since_ns;
  struct policy_credit credit;
  double disk_seconds, ram_seconds; /* measured: to have it back from there; 0: not known */
  uint8_t priority;                 /* higher is more important */
  bool has_ram_copy;                /* parking it takes no RAM */
  bool spare;  /* a second copy: the model stays elsewhere, so neither a pin nor its age holds it */
  bool served; /* used since it came, and let go */
  bool pinned, busy, excluded;
};
struct policy_snapshot {
  const struct policy_model *models;
  uint32_t count;
  struct policy_clock clock;
  uint64_t now_ns; /* of the clock of the models' times */
};

struct policy_params {
  enum policy_strategy strategy;
  uint64_t bytes;            /* needed; 0: nothing is planned, which covers */
  bool park, drop;           /* what may be done */
  uint64_t ram_bytes;        /* RAM that new copies may take */
  uint32_t max_models;       /* UINT32_MAX: as many as it takes */
  uint8_t max_priority;      /* models above it are not touched */
  uint64_t min_residency_ns; /* nobody leaves earlier, */
  uint32_t min_loads;        /* nor before so many times its own load from disk */
  uint64_t min_idle_ns;      /* nobody leaves who was used within it */
  bool prefer_ram;           /* COST: what comes back quickly from its RAM copy goes sooner */
  bool force;                /* forget min_residency_ns, min_loads and min_idle_ns; nothing else */
  bool last_resort;          /* pinned models too, after all others */
};

/* ---- plan ---- */

/* What became of a model; of several rules the first. Those from BUSY to NO_ROOM hold it back. */
enum policy_rule {
  POLICY_SPARED, /* could go, and need not */
  POLICY_VICTIM,
  POLICY_EMPTY, /* frees nothing */
  POLICY_BUSY,
  POLICY_PINNED,
  POLICY_EXCLUDED,
  POLICY_HIGHER,  /* priority over max_priority */
  POLICY_YOUNG,   /* on the device for too short a time */
  POLICY_IN_USE,  /* used within min_idle_ns */
  POLICY_LIMIT,   /* max_models larger ones do not cover the need either */
  POLICY_NO_ROOM, /* no RAM to park it, and not to be dropped */
  POLICY_RULES
};
enum policy_act { POLICY_DRAIN, POLICY_PARK, POLICY_DROP }; /* drain: a second copy goes */
struct policy_step {
  uint64_t user;
  uint32_t model; /* index into the snapshot */
  enum policy_act act;
  uint64_t bytes;     /* that it frees */
  uint64_t ram_bytes; /* that its new RAM copy takes */
};
struct policy_plan {
  struct policy_step *steps; /* drains, parks with a copy, without, drops; each in policy's order */
  uint32_t count;
  uint64_t freed_bytes, ram_bytes;
  bool covered;                    /* if not, the steps are the most that can be done */
  enum policy_rule *rules;         /* of each model of the snapshot */
  uint64_t bytes_of[POLICY_RULES]; /* Σ bytes by rule */
  uint64_t next_ns; /* the first of YOUNG and IN_USE may go from then on; 0: there is none */
};

/* INTERNAL_ERROR only when out of memory. Whenever some allowed victims cover the need, the plan
 * does, with one exception: where RAM is short and drop is not allowed, which models fit into it is
 * searched for from the first 64 of the order on, not through all combinations.
 * O(n log n) for n models; O(64 n v) for v victims where RAM is short or max_models is reached. */
enum status policy_plan_make(const struct policy_snapshot *snapshot,
                             const struct policy_params *params, struct policy_plan *out);
void policy_plan_free(struct policy_plan *plan);

/* "busy", "pinned", … for details of a refusal. Static. */
const char *policy_rule_name(enum policy_rule rule);

#endif
