/*
 * analytics: what a window was like. The last hour from the samples of each second and the
 * transfers that are still listed, longer ones and all operations from the history. Sums over what
 * happened; nothing is invented: before the first sample there is none.
 */
#ifndef SERVICE_ANALYTICS_H
#define SERVICE_ANALYTICS_H

#include "base/problem.h"
#include "history/history.h"
#include "memory/pressure.h"
#include "service/job.h"

struct service;

#define ANALYTICS_POINTS 120
#define ANALYTICS_HOURS 24
#define ANALYTICS_WEEKDAYS 7
#define ANALYTICS_TRANSFERS 256
#define ANALYTICS_OPERATIONS 128 /* there are fewer actions */

struct analytics_point {
  uint64_t time, largest_free_bytes;
  uint32_t fragmentation; /* hundredths of a percent */
};
struct analytics_device {
  const char *device_id;
  uint64_t peak_bytes, average_bytes, p95_bytes;
  bool known; /* there are samples */
  struct analytics_point points[ANALYTICS_POINTS];
  uint32_t point_count;
  double hours[ANALYTICS_HOURS], weekdays[ANALYTICS_WEEKDAYS]; /* average of used bytes, UTC, from
                                                                  Monday; < 0: null */
  uint64_t level_seconds[PRESSURE_CRITICAL + 1];
};
/* Of one pair of devices and one way between them. */
struct analytics_transfer {
  char from[SPEC_ID], to[SPEC_ID];
  const char *path; /* NULL: none was under way yet when it ended */
  uint64_t count, failed, bytes;
  double p50, best; /* bytes/s; < 0: none ended well */
};
struct analytics {
  uint64_t window_start, window_end;
  struct analytics_device *devices; /* malloced, as is the next; analytics_free */
  struct analytics_transfer *transfers;
  uint32_t device_count, transfer_count;
};
/* What the history knows of a window. PENDING: it was found when *job ends, or not in time. In any
 * case *out is the caller's to give back. OK: there is no history, or it has too much to answer and
 * the samples at hand do. HISTORY_UNAVAILABLE: it has too much to answer. INTERNAL_ERROR: no
 * memory. */
struct analytics_past;
enum status analytics_look_back(struct service *service, uint64_t window_ns,
                                struct analytics_past **out, struct job **job,
                                struct problem *problem);
void analytics_past_give(struct analytics_past *past); /* NULL is fine */
/* `past` NULL: there is none. HISTORY_UNAVAILABLE: the window is longer than the samples at hand,
 * and it did not answer in time. INTERNAL_ERROR: no memory. */
enum status analytics_make(struct service *service, uint64_t window_ns,
                           const struct analytics_past *past, struct analytics *out,
                           struct problem *problem);
void analytics_free(struct analytics *analytics);
/* How long operations took in that window, by whole minutes (beyond six hours: by whole hours).
 * False: the history did not answer in time. */
bool analytics_operations(const struct analytics_past *past, const struct history_operation **out,
                          uint32_t *count);

#endif
