/*
 * advice: the facts of a device are gathered from figures that are at hand, and judged by a table
 * of rules. They are asked for often, so nothing is planned for them: what moving blocks together
 * gives is judged by the figures of slabs (gain.h).
 */
#include "service/advice.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/gain.h"
#include "service/report.h"
#include "service/state.h"
#include "service/usage.h"

#define ADVICE_LEAST (64 * MIB) /* contract 8: below, advice is noise */
#define ADVICE_PART 8           /* of the committed bytes, that a defragmentation must give */
#define ADVICE_BATCH 256        /* allocations looked at per holding of the lock */
#define ADVICE_WALK 65536       /* and in all: the rest is not judged */

/* ---- the rules ---- */

static uint64_t all_of(const struct advice_facts *facts) {
  return facts->cached_bytes + facts->releasable_bytes + facts->model_bytes;
}

/* Each answers with the bytes that are to be expected; 0: it does not apply. */
static uint64_t judge_cache(const struct advice_facts *facts) {
  bool pressed = facts->level >= PRESSURE_MODERATE;
  return pressed || facts->cached_bytes >= ADVICE_LEAST ? facts->cached_bytes : 0;
}

static uint64_t judge_defragment(const struct advice_facts *facts) {
  bool pays = facts->releasable_bytes >= ADVICE_LEAST &&
              facts->releasable_bytes >= facts->committed_bytes / ADVICE_PART;
  return pays ? facts->releasable_bytes : 0;
}

static uint64_t judge_models(const struct advice_facts *facts) {
  return facts->level >= PRESSURE_HIGH ? facts->model_bytes : 0;
}

static uint64_t judge_idle(const struct advice_facts *facts) {
  return facts->idle_bytes >= ADVICE_LEAST || facts->level >= PRESSURE_HIGH ? facts->idle_bytes : 0;
}

static uint64_t judge_full_soon(const struct advice_facts *facts) {
  bool soon = facts->seconds_to_full >= 0 && facts->seconds_to_full < ADVICE_SOON_SECONDS;
  return soon ? all_of(facts) : 0;
}

static const struct {
  uint64_t (*judge)(const struct advice_facts *facts);
  bool safe;
} rules[ADVICE_KINDS] = {
    [ADVICE_CACHE] = {judge_cache, true},          [ADVICE_DEFRAGMENT] = {judge_defragment, true},
    [ADVICE_MODELS] = {judge_models, true},        [ADVICE_IDLE] = {judge_idle, false},
    [ADVICE_FULL_SOON] = {judge_full_soon, false},
};

bool advice_is_safe(enum advice_kind kind) { return rules[kind].safe; }

uint32_t advice_judge(const struct advice_facts *facts, struct advice out[ADVICE_KINDS]) {
  uint32_t count = 0;
  for (int kind = 0; kind < ADVICE_KINDS; kind++) {
    uint64_t bytes = rules[kind].judge(facts);
    if (bytes)
      out[count++] =
          (struct advice){.kind = (enum advice_kind)kind, .expected_bytes = bytes, .facts = *facts};
  }
  return count;
}

/* ---- the facts ---- */

struct idle {
  uint64_t bytes[VIEW_DEVICES];
  uint32_t counts[VIEW_DEVICES];
};

/* Under the lock: as `clear` with scope idle would take it. */
static bool is_idle(const struct service *s, const struct state_alloc *alloc, uint64_t before) {
  uint8_t flags = state_record(s, alloc)->flags;
  bool kept = flags & (STATE_MODEL | STATE_HIDDEN | STATE_PINNED | STATE_PERSISTENT);
  return !kept && !alloc->attachments && !alloc->busy && !alloc->moving &&
         ledger_at(s->ledger, alloc->slot)->last_access_real_ns < before;
}

static bool look_at_some(struct service *s, uint64_t *after, uint64_t before, struct idle *idle) {
  LOCK_SCOPE(&s->lock);
  for (unsigned i = 0; i < ADVICE_BATCH; i++) {
    const struct idmap_entry *entry = idmap_next(&s->alloc_ids, *after);
    if (!entry)
      return false;
    *after = entry->id;
    const struct state_alloc *alloc = state_alloc(s, entry->value);
    uint32_t device = state_segment(s, alloc->segment)->device;
    if (!is_idle(s, alloc, before))
      continue;
    idle->counts[device]++;
    idle->bytes[device] += state_record(s, alloc)->size_bytes;
  }
  return true;
}

static struct idle find_idle(struct service *s) {
  struct idle idle = {.bytes = {0}};
  uint64_t after = 0, walked = 0;
  uint64_t before = units_minus(clock_real(), ADVICE_IDLE_SECONDS * CLOCK_SECOND);
  while (walked < ADVICE_WALK && look_at_some(s, &after, before, &idle))
    walked += ADVICE_BATCH;
  return idle;
}

/* False: it is not there any more. */
static bool gather(struct service *s, uint32_t index, const struct idle *idle,
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
      .cached_bytes = pressure.cached_bytes,
      .releasable_bytes = gain.bytes,
      .releasable_segments = gain.slabs,
      .model_bytes = pressure.park_bytes + pressure.unload_bytes,
      .idle_bytes = idle->bytes[index],
      .idle_allocations = idle->counts[index],
      .seconds_to_full = forecast_when(&forecast, (double)device->info->total_bytes).expected};
  return true;
}

static int by_worth(const void *a, const void *b) {
  const struct advice *x = a, *y = b;
  if (x->kind != y->kind)
    return x->kind < y->kind ? -1 : 1;
  return (x->expected_bytes < y->expected_bytes) - (x->expected_bytes > y->expected_bytes);
}

uint32_t advice_make(struct service *s, uint32_t device, struct advice *out, uint32_t max) {
  struct idle idle = find_idle(s);
  struct advice found[ADVICE_KINDS];
  struct advice_facts facts;
  uint32_t count = 0;
  for (uint32_t i = 0; i < s->device_count; i++) {
    if ((device != UINT32_MAX && device != i) || !gather(s, i, &idle, &facts))
      continue;
    uint32_t n = advice_judge(&facts, found);
    for (uint32_t k = 0; k < n && count < max; k++) {
      found[k].device = i;
      out[count++] = found[k];
    }
  }
  qsort(out, count, sizeof *out, by_worth);
  return count;
}
