/*
 * latency: a bucket is found from the position of the time's highest bit and the two bits behind
 * it, so its upper end is 2^n, 1.25 * 2^n, 1.5 * 2^n or 1.75 * 2^n ns.
 *
 * Counters only rise. What the history got of them is kept beside them; the next part is the
 * difference. Only the longest time of a part needs a counter of its own, which starts anew.
 */
#include "ops/latency.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/units.h"
#include "history/history.h"
#include "ops/ops.h"

_Static_assert(LATENCY_BUCKETS <= HISTORY_BUCKETS, "the history has room for each bucket");

struct counters {
  atomic_uint_fast64_t failed, sum_ns, max_ns, part_max_ns; /* the last: since the last part */
  atomic_uint_fast64_t buckets[LATENCY_BUCKETS];
};

struct latency {
  const struct ops_row *const *rows;
  size_t count;
  uint32_t *slots;               /* by row: the first with its action */
  struct lock lock;              /* of `given` */
  struct latency_figures *given; /* by row */
  struct counters counters[];
};

enum status latency_create(struct latency **out) {
  size_t count;
  const struct ops_row *const *rows = ops_rows(&count);
  struct latency *latency = calloc(1, sizeof *latency + count * sizeof *latency->counters);
  if (!latency)
    return STATUS_INTERNAL_ERROR;
  lock_init(&latency->lock, LOCK_RANK_DOOR, "latency");
  latency->rows = rows;
  latency->count = count;
  latency->slots = calloc(count, sizeof *latency->slots);
  latency->given = calloc(count, sizeof *latency->given);
  if (!latency->slots || !latency->given) {
    latency_free(latency);
    return STATUS_INTERNAL_ERROR;
  }
  for (size_t i = 0; i < count; i++) {
    uint32_t slot = 0;
    while (slot < i && !(rows[i]->action && rows[slot]->action &&
                         strcmp(rows[slot]->action, rows[i]->action) == 0))
      slot++;
    latency->slots[i] = slot;
  }
  *out = latency;
  return STATUS_OK;
}

void latency_free(struct latency *latency) {
  if (!latency)
    return;
  lock_done(&latency->lock);
  free(latency->given);
  free(latency->slots);
  free(latency);
}

/* Ends are included: 2^LATENCY_FIRST ns are in the first. */
static unsigned bucket_of(uint64_t ns) {
  if (ns <= UINT64_C(1) << LATENCY_FIRST)
    return 0;
  ns--;
  unsigned top = 63 - (unsigned)__builtin_clzll(ns);
  unsigned part = (unsigned)(ns >> (top - 2)) & (LATENCY_PARTS - 1);
  return (unsigned)units_min((top - LATENCY_FIRST) * LATENCY_PARTS + part + 1, LATENCY_BUCKETS - 1);
}

static void raise_to(atomic_uint_fast64_t *most, uint64_t value) {
  uint_fast64_t before = atomic_load_explicit(most, memory_order_relaxed);
  while (before < value && !atomic_compare_exchange_weak(most, &before, value))
    ;
}

static void increase(atomic_uint_fast64_t *counter, uint64_t by) {
  atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

void latency_add(struct latency *latency, const struct ops_row *row, uint64_t ns, bool failed) {
  size_t place = 0;
  while (place < latency->count && latency->rows[place] != row)
    place++;
  if (place == latency->count || !row->action)
    return;
  struct counters *counters = &latency->counters[latency->slots[place]];
  increase(&counters->failed, failed);
  increase(&counters->sum_ns, ns);
  increase(&counters->buckets[bucket_of(ns)], 1);
  raise_to(&counters->max_ns, ns);
  raise_to(&counters->part_max_ns, ns);
}

void latency_count(const struct ops_call *call) {
  latency_add(ops_latency(call->ops), call->row, clock_now() - call->started_ns,
              call->http_status >= 400);
}

bool latency_read(const struct latency *latency, size_t place, struct latency_figures *out) {
  if (latency->slots[place] != place)
    return false;
  const struct counters *counters = &latency->counters[place];
  *out = (struct latency_figures){.action = latency->rows[place]->action,
                                  .failed = atomic_load(&counters->failed),
                                  .sum_ns = atomic_load(&counters->sum_ns),
                                  .max_ns = atomic_load(&counters->max_ns)};
  for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
    out->buckets[i] = atomic_load(&counters->buckets[i]);
    out->count += out->buckets[i]; /* what is being counted just now stands in all or in none */
  }
  return out->count > 0;
}

uint64_t latency_up_to(const struct latency_figures *figures, unsigned exponent) {
  uint64_t count = 0;
  for (unsigned i = 0; i <= (exponent - LATENCY_FIRST) * LATENCY_PARTS; i++)
    count += figures->buckets[i];
  return count;
}

/* Four of them to a doubling: bucket 1 + 4n ends at 2^(FIRST + n) * 5/4. */
static double end_of(unsigned bucket) {
  if (!bucket)
    return (double)(UINT64_C(1) << LATENCY_FIRST);
  unsigned doublings = (bucket - 1) / LATENCY_PARTS, parts = (bucket - 1) % LATENCY_PARTS + 1;
  return (double)(UINT64_C(1) << (LATENCY_FIRST + doublings)) * (1 + (double)parts / LATENCY_PARTS);
}

double latency_quantile(const struct latency_figures *figures, double share) {
  double wanted = share * (double)figures->count;
  uint64_t passed = 0;
  for (unsigned i = 0; i + 1 < LATENCY_BUCKETS; i++) {
    passed += figures->buckets[i];
    if ((double)passed >= wanted)
      return fmin(end_of(i), (double)figures->max_ns);
  }
  return (double)figures->max_ns;
}

/* ---- parts ---- */

static uint64_t start_of(unsigned bucket) { return bucket ? (uint64_t)end_of(bucket - 1) : 0; }

/* A time may be counted before it is the longest: then it is known by its bucket. */
static void take_part(const struct latency_figures *now, const struct latency_figures *given,
                      struct history_latency *part) {
  unsigned last = 0;
  part->errors = now->failed - given->failed;
  part->sum_ns = now->sum_ns - given->sum_ns;
  for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
    part->buckets[i] = now->buckets[i] - given->buckets[i];
    if (part->buckets[i])
      last = i;
  }
  part->max_ns = units_max(part->max_ns, start_of(last));
  snprintf(part->action, sizeof part->action, "%s", now->action);
}

void latency_give(struct latency *latency, struct history *history) {
  struct latency_figures now;
  uint64_t time = clock_real();
  LOCK_SCOPE(&latency->lock);
  for (size_t i = 0; i < latency->count; i++) {
    struct latency_figures *given = &latency->given[i];
    if (!latency_read(latency, i, &now) || now.count == given->count)
      continue;
    atomic_uint_fast64_t *longest = &latency->counters[i].part_max_ns;
    struct history_latency part = {.time = time, .max_ns = atomic_exchange(longest, 0)};
    take_part(&now, given, &part);
    if (history_latency(history, &part))
      *given = now;
    else
      raise_to(longest, part.max_ns);
  }
}
