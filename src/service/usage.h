/*
 * usage: what happened in the last window, from the daemon's own samples (one a second, kept for
 * one hour per device), the history beyond them, and its counters. Nothing is invented:
 * before the first sample there are none.
 */
#ifndef SERVICE_USAGE_H
#define SERVICE_USAGE_H

#include "base/problem.h"
#include "memory/forecast.h"
#include "service/view.h"

struct service;
struct job;

#define USAGE_SAMPLES 1000
#define USAGE_SIZES 16     /* histogram: 256 B, 1 KiB, 4 KiB … x4 */
#define USAGE_LIFETIMES 10 /* 0.001 s, 0.01 s … 10^6 s, more */
#define USAGE_OWNERS 16

extern const char *const usage_directions[]; /* by forecast_direction */

struct usage_sample {
  uint64_t time, used_bytes, allocated_bytes;
};
struct usage_device {
  const char *device_id;
  uint64_t current_bytes, peak_bytes, average_bytes, p50_bytes, p95_bytes;
  double allocations_per_second, deallocations_per_second;
  uint64_t average_allocation_bytes, total_allocations, active_allocations;
  struct {
    uint64_t up_to_bytes, count, bytes;
  } sizes[USAGE_SIZES]; /* of allocations made in the window; up_to 0: open end */
  struct {
    double up_to_seconds;
    uint64_t count;
  } lifetimes[USAGE_LIFETIMES]; /* of freed ones; up_to 0: open end */
  struct {
    uint64_t bytes, count;
  } purposes[VIEW_PURPOSES]; /* alive now */
  struct {
    char name[64];
    uint64_t bytes, count;
  } owners[USAGE_OWNERS]; /* the largest, alive now */
  uint32_t owner_count;
  enum forecast_direction direction;
  double bytes_per_second;
  struct forecast_time full;
  struct usage_sample samples[USAGE_SAMPLES];
  uint32_t sample_count;
};
/* What the history knows of a window that is longer than the samples at hand. */
struct usage_past;
struct usage_params {
  char device[80];    /* "": all */
  uint64_t window_ns; /* 1 s … */
  uint64_t points;    /* 1 … USAGE_SAMPLES */
  const struct usage_past *past;
};
struct usage_report {
  uint64_t window_start, window_end;
  struct usage_device *devices; /* malloced: free() */
  uint32_t count;
};
/* PENDING: it was found when *job ends, or not in time; usage_make sees which. In any case *out is
 * the caller's to give back. OK: what is at hand will do, or is all there is. HISTORY_UNAVAILABLE:
 * too much is asked of it. INTERNAL_ERROR: no memory. */
enum status usage_look_back(struct service *service, const struct usage_params *params,
                            struct usage_past **out, struct job **job, struct problem *problem);
void usage_past_give(struct usage_past *past); /* NULL is fine */
enum status usage_make(struct service *service, const struct usage_params *params,
                       struct usage_report *out, struct problem *problem);
/* Where the used bytes of the device at this index go, by all of its samples; made once for each
 * sample. Takes the state lock. */
struct forecast usage_forecast(struct service *service, uint32_t index);

#endif
