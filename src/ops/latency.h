/*
 * latency: how long operations take and how many fail, since the daemon started. Counted for each
 * action (both rows of one that may name a device count as one) without a lock; any thread. What
 * was counted is given to the history, each time what came since the last.
 *
 * Buckets are four to a doubling, from 1 us to 137 s: a quantile that is read from them is off by
 * at most a tenth.
 */
#ifndef OPS_LATENCY_H
#define OPS_LATENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define LATENCY_FIRST 10 /* 2^10 ns: the first bucket ends there */
#define LATENCY_LAST 37
#define LATENCY_PARTS 4 /* of a doubling */
#define LATENCY_BUCKETS ((LATENCY_LAST - LATENCY_FIRST) * LATENCY_PARTS + 2)

struct latency;
struct history;
struct ops_row;
struct ops_call;

/* INTERNAL_ERROR: no memory. */
enum status latency_create(struct latency **out);
/* NULL is fine. */
void latency_free(struct latency *latency);
/* A row without an action is not counted. */
void latency_add(struct latency *latency, const struct ops_row *row, uint64_t ns, bool failed);
/* The same for a call that has its answer. */
void latency_count(const struct ops_call *call);

struct latency_figures {
  const char *action;
  uint64_t count, failed, sum_ns, max_ns;
  uint64_t buckets[LATENCY_BUCKETS]; /* the last: longer than 2^LATENCY_LAST ns */
};
/* Of the row at this place of ops_rows(); false: nothing was counted, or an earlier row has it. */
bool latency_read(const struct latency *latency, size_t place, struct latency_figures *out);
/* What was counted since the last time goes to the history; what that has no room for goes with the
 * next. NULL is fine: nothing is given. Any thread; never waits. */
void latency_give(struct latency *latency, struct history *history);
/* So many ns, of which the share 0 … 1 of them took no more: the end of a bucket, or the longest of
 * all if that is less. */
double latency_quantile(const struct latency_figures *figures, double share);
/* How many took at most 2^exponent ns, LATENCY_FIRST … LATENCY_LAST. */
uint64_t latency_up_to(const struct latency_figures *figures, unsigned exponent);

#endif
