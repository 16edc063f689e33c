/*
 * advice: the facts of a device are gathered from figures that are at hand and one walk over the
 * allocations, and judged by a table of rules. They are asked for often, so nothing is planned for
 * them: what moving blocks together gives is judged by the figures of slabs (gain.h).
 */
#include "service/advice.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/gain.h"
#include "service/model_room.h"
#include "service/report.h"
#include "service/state.h"
#include "service/usage.h"

#define ADVICE_LEAST (64 * MIB) /* contract 8: below, advice is noise */
#define ADVICE_PART 8           /* of the committed bytes, that a defragmentation must give */
#define ADVICE_QUOTA_PART 10    /* of a quota, that is left when it is nearly full */
#define ADVICE_LEAKS 64         /* suspected ones that are looked at */
#define ADVICE_BATCH 256        /* allocations looked at per holding of the lock */
#define ADVICE_WALK 65536       /* and in all: the rest is not judged */

/* ---- the rules ---- */

static bool is_full(uint64_t held, uint64_t max) {
  return max != UINT64_MAX && held >= max - max / ADVICE_QUOTA_PART;
}

static uint64_t all_of(const struct advice_facts *facts) {
  return facts->cached_bytes + facts->releasable_bytes + facts->model_bytes;
}

/* Each answers whether it applies, and which bytes are to be expected. */
static bool judge_cache(const struct advice_facts *facts, uint64_t *bytes) {
  *bytes = facts->cached_bytes + facts->spare_bytes;
  return *bytes && (facts->level >= PRESSURE_MODERATE || facts->cached_bytes >= ADVICE_LEAST);
}

static bool judge_defragment(const struct advice_facts *facts, uint64_t *bytes) {
  *bytes = facts->releasable_bytes;
  return *bytes >= ADVICE_LEAST && *bytes >= facts->committed_bytes / ADVICE_PART;
}

static bool judge_models(const struct advice_facts *facts, uint64_t *bytes) {
  *bytes = facts->model_bytes;
  return *bytes && facts->level >= PRESSURE_HIGH;
}

static bool judge_lost(const struct advice_facts *facts, uint64_t *bytes) {
  *bytes = 0; /* no device has them */
  return facts->lost.allocations;
}

static bool judge_leak(const struct advice_facts *facts, uint64_t *bytes) {
  *bytes = facts->leaked.bytes;
  return *bytes;
}

static bool judge_quota(const struct advice_facts *facts, uint64_t *bytes) {
  const struct advice_quota *quota = &facts->quota;
  *bytes = quota->idle.bytes;
  return *bytes && (is_full(quota->bytes, quota->max_bytes) ||
                    is_full(quota->allocations, quota->max_allocations));
}

static bool judge_idle(const struct advice_facts *facts, uint64_t *bytes) {
  *bytes = facts->idle.bytes;
  return *bytes && (*bytes >= ADVICE_LEAST || facts->level >= PRESSURE_HIGH);
}

static bool judge_limit(const struct advice_facts *facts, uint64_t *bytes) {
  uint64_t over = units_minus(facts->committed_bytes, facts->limit_bytes);
  *bytes = units_min(over, facts->releasable_bytes + facts->model_bytes);
  return *bytes;
}

static bool judge_full_soon(const struct advice_facts *facts, uint64_t *bytes) {
  *bytes = all_of(facts);
  return *bytes && facts->seconds_to_full >= 0 && facts->seconds_to_full < ADVICE_SOON_SECONDS;
}

static const struct {
  bool (*judge)(const struct advice_facts *facts, uint64_t *bytes);
  bool safe;
  enum pressure_level urgency; /* at least */
} rules[ADVICE_KINDS] = {
    [ADVICE_CACHE] = {judge_cache, true, PRESSURE_LOW},
    [ADVICE_DEFRAGMENT] = {judge_defragment, true, PRESSURE_LOW},
    [ADVICE_MODELS] = {judge_models, true, PRESSURE_LOW},
    [ADVICE_LOST] = {judge_lost, false, PRESSURE_LOW},
    [ADVICE_LEAK] = {judge_leak, false, PRESSURE_HIGH},
    [ADVICE_QUOTA] = {judge_quota, false, PRESSURE_HIGH},
    [ADVICE_IDLE] = {judge_idle, false, PRESSURE_LOW},
    [ADVICE_LIMIT] = {judge_limit, false, PRESSURE_CRITICAL},
    [ADVICE_FULL_SOON] = {judge_full_soon, false, PRESSURE_HIGH},
};

bool advice_is_safe(enum advice_kind kind) { return rules[kind].safe; }

uint32_t advice_judge(const struct advice_facts *facts, struct advice out[ADVICE_KINDS]) {
  uint32_t count = 0;
  for (int kind = 0; kind < ADVICE_KINDS; kind++) {
    enum pressure_level least = rules[kind].urgency;
    uint64_t bytes;
    if (rules[kind].judge(facts, &bytes))
      out[count++] = (struct advice){.kind = (enum advice_kind)kind,
                                     .urgency = facts->level > least ? facts->level : least,
                                     .expected_bytes = bytes,
                                     .facts = *facts};
  }
  return count;
}

/* ---- the walk ---- */

struct walk {
  uint64_t after, idle_before, leak_before; /* times of the last access */
  struct advice_sum idle[VIEW_DEVICES], lost[VIEW_DEVICES], leaked[VIEW_DEVICES];
  struct leak leaks[VIEW_DEVICES]; /* owner_id 0: none */
  struct advice_quota quotas[ADVICE_QUOTAS];
  uint32_t domains[ADVICE_QUOTAS], quota_count;
};

static void add(struct advice_sum *sum, uint64_t bytes) {
  sum->bytes += bytes;
  sum->allocations++;
}

static struct advice_quota *quota_of(struct walk *walk, uint32_t domain) {
  for (uint32_t i = 0; i < walk->quota_count; i++)
    if (walk->domains[i] == domain)
      return &walk->quotas[i];
  return NULL;
}

/* Under the lock: as `clear` would take it. Most were touched just now. */
static void look_at(const struct service *s, struct walk *walk, const struct state_alloc *alloc) {
  const struct state_segment *segment = state_segment(s, alloc->segment);
  const struct ledger_allocation *facts = state_record(s, alloc);
  uint64_t touched = ledger_at(s->ledger, alloc->slot)->last_access_real_ns;
  if (facts->flags & (STATE_MODEL | STATE_HIDDEN) || alloc->attachments || alloc->busy ||
      alloc->moving)
    return;
  if (segment->share.kind == SHARE_NONE)
    add(&walk->lost[segment->device], facts->size_bytes);
  if (facts->flags & (STATE_PINNED | STATE_PERSISTENT) || touched >= walk->leak_before ||
      state_is_lost(s, alloc))
    return;
  const struct state_owner *owner = state_owner(s, alloc->owner);
  struct advice_quota *quota = quota_of(walk, owner->domain);
  if (touched < walk->idle_before)
    add(&walk->idle[segment->device], facts->size_bytes);
  if (touched < walk->idle_before && quota)
    add(&quota->idle, facts->size_bytes);
  if (owner->id == walk->leaks[segment->device].owner_id)
    add(&walk->leaked[segment->device], facts->size_bytes);
}

static bool look_at_some(struct service *s, struct walk *walk) {
  LOCK_SCOPE(&s->lock);
  const struct idmap_entry *entry = idmap_next(&s->alloc_ids, walk->after);
  for (unsigned i = 0; entry && i < ADVICE_BATCH; i++) {
    walk->after = entry->id;
    look_at(s, walk, state_alloc(s, entry->value));
    entry = idmap_after(&s->alloc_ids, entry);
  }
  return entry;
}

/* The fastest of each device. */
static void find_leaks(struct service *s, struct walk *walk) {
  struct leak found[ADVICE_LEAKS];
  uint32_t count = leaks_find(s, found, ADVICE_LEAKS);
  for (uint32_t i = 0; i < count; i++)
    for (uint32_t d = 0; d < s->device_count; d++)
      if (found[i].device_id == report_device_id(s, d) && !walk->leaks[d].owner_id)
        walk->leaks[d] = found[i];
}

static void find_quotas(struct service *s, struct walk *walk) {
  LOCK_SCOPE(&s->lock);
  for (uint32_t i = 0; i < s->domain_count && walk->quota_count < ADVICE_QUOTAS; i++) {
    const struct state_domain *domain = &s->domains[i];
    if (!is_full(domain->bytes, domain->max_bytes) &&
        !is_full(domain->allocations, domain->max_allocations))
      continue;
    struct advice_quota *quota = &walk->quotas[walk->quota_count];
    *quota = (struct advice_quota){.bytes = domain->bytes,
                                   .max_bytes = domain->max_bytes,
                                   .allocations = domain->allocations,
                                   .max_allocations = domain->max_allocations};
    memcpy(quota->domain, domain->name, sizeof quota->domain);
    walk->domains[walk->quota_count++] = i;
  }
}

static void walk_all(struct service *s, struct walk *walk) {
  uint64_t now = clock_real();
  walk->idle_before = units_minus(now, ADVICE_IDLE_SECONDS * CLOCK_SECOND);
  walk->leak_before = units_minus(now, ADVICE_LEAK_SECONDS * CLOCK_SECOND);
  find_leaks(s, walk);
  find_quotas(s, walk);
  for (uint32_t walked = 0; walked < ADVICE_WALK && look_at_some(s, walk);)
    walked += ADVICE_BATCH;
}

/* ---- the facts ---- */

/* False: it is not there any more. */
static bool gather(struct service *s, uint32_t index, const struct walk *walk,
                   struct advice_facts *out) {
  struct report_pressure pressure;
  struct problem problem;
  const char *name = report_device_id(s, index);
  struct forecast forecast = usage_forecast(s, index);
  if (report_pressure(s, name, &pressure, &problem))
    return false;
  struct slack gain = gain_look(s, index);
  LOCK_SCOPE(&s->lock);
  const struct state_device *device = &s->devices[index];
  *out = (struct advice_facts){
      .level = pressure.pressure.level,
      .percent = pressure.pressure.percent,
      .committed_bytes = device->committed,
      .allocated_bytes = device->allocated,
      .limit_bytes = device->limit,
      .cached_bytes = pressure.cached_bytes,
      .spare_bytes = model_room_spare(s, index),
      .releasable_bytes = gain.bytes,
      .releasable_segments = gain.slabs,
      .model_bytes = pressure.park_bytes + pressure.unload_bytes,
      .idle = walk->idle[index],
      .lost = walk->lost[index],
      .leak = walk->leaks[index],
      .leaked = walk->leaked[index],
      .seconds_to_full = forecast_when(&forecast, (double)device->info->total_bytes).expected};
  return true;
}

struct advices {
  struct advice *out;
  uint32_t count, max;
};

static void judge(struct advices *all, const struct advice_facts *facts, uint32_t device) {
  struct advice found[ADVICE_KINDS];
  uint32_t count = advice_judge(facts, found);
  for (uint32_t i = 0; i < count && all->count < all->max; i++) {
    found[i].device = device;
    all->out[all->count++] = found[i];
  }
}

static int by_worth(const void *a, const void *b) {
  const struct advice *x = a, *y = b;
  if (x->kind != y->kind)
    return x->kind < y->kind ? -1 : 1;
  return (x->expected_bytes < y->expected_bytes) - (x->expected_bytes > y->expected_bytes);
}

uint32_t advice_make(struct service *s, uint32_t device, struct advice *out, uint32_t max) {
  struct advices all = {out, 0, max};
  struct walk *walk = calloc(1, sizeof *walk);
  struct advice_facts facts;
  if (!walk)
    return 0;
  walk_all(s, walk);
  for (uint32_t i = 0; i < s->device_count; i++)
    if ((device == UINT32_MAX || device == i) && gather(s, i, walk, &facts))
      judge(&all, &facts, i);
  for (uint32_t i = 0; device == UINT32_MAX && i < walk->quota_count; i++)
    judge(&all, &(struct advice_facts){.quota = walk->quotas[i], .seconds_to_full = -1},
          UINT32_MAX);
  free(walk);
  qsort(out, all.count, sizeof *out, by_worth);
  return all.count;
}
