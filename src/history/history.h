/*
 * history: what outlives the sampler's ring, in one SQLite file: a sample of each device a second,
 * kept for hours, rolled up to minutes (a month) and hours (years); events, how long operations
 * took, finished transfers. Everything that may wait for a disk happens on the history's own
 * thread, once a second in one transaction.
 *
 * A disk that fails is no reason to stop: the history goes on in memory (bounded, recent) and tries
 * the file again every few seconds; what was kept in memory meanwhile is then written to it. A file
 * that is corrupt or of a newer version is renamed and a new one begun.
 */
#ifndef HISTORY_HISTORY_H
#define HISTORY_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/queue.h"
#include "base/status.h"
#include "device/spec.h"

#define HISTORY_LEVELS 4    /* of pressure */
#define HISTORY_BUCKETS 112 /* of operations' times; what they mean is the pusher's */
#define HISTORY_WORD 48
#define HISTORY_POINTS 1000

struct history;

struct history_params {
  const char *folder; /* made when missing; NULL or "": memory only */
  uint64_t retry_ns;  /* after a failure of the disk; 0: 10 s */
};

/* Never fails for a disk's sake: see history_state. The thread starts, and opens the file. A NULL
 * history may be given to all functions below: nothing is kept, nothing is found.
 * INTERNAL_ERROR: no memory, no thread. */
enum status history_open(const struct history_params *params, struct history **out);
/* Writes what was pushed, and ends the thread. */
void history_close(struct history *history);

/* ---- in: any thread, also under a lock; never waits. What does not fit is dropped and counted. */

struct history_sample {
  uint64_t time; /* CLOCK_REALTIME */
  char device[SPEC_ID];
  uint64_t used, allocated, committed, cached, external, reserved, largest;
  uint32_t fragmentation;           /* hundredths of a percent */
  uint32_t level;                   /* enum pressure_level */
  uint64_t made, made_bytes, freed; /* of that second */
};
void history_sample(struct history *history, const struct history_sample *sample);

struct history_event {
  uint64_t time, subject, bytes, other;
  char type[HISTORY_WORD], device[SPEC_ID], text[72];
};
void history_event(struct history *history, const struct history_event *event);

/* Of the time since the last push for this action. */
struct history_latency {
  uint64_t time, errors, sum_ns, max_ns;
  char action[HISTORY_WORD];
  uint64_t buckets[HISTORY_BUCKETS];
};
/* Added to what this action has in that minute already. False: there is no room, or no history;
 * nothing is dropped, it is the caller's to push again. */
bool history_latency(struct history *history, const struct history_latency *latency);

struct history_transfer {
  uint64_t time, bytes, ns;
  char source[SPEC_ID], target[SPEC_ID], path[16]; /* path "": unknown */
  bool failed;
};
void history_transfer(struct history *history, const struct history_transfer *transfer);

/* Somebody was asked for; who is a number that stays his over restarts, below 2^63. 0: from here on
 * it is not known who came before. What does not fit into a second is such a gap. */
void history_use(struct history *history, uint64_t time, uint64_t who);

/* ---- state: any thread */

struct history_state {
  bool on_disk;
  bool opening;     /* not on disk yet, and nothing says that it will not be */
  char reason[160]; /* why it is not on disk, or that it hangs; or what became of a file that could
                       not be used */
  uint64_t dropped, queued; /* pushes */
};
void history_state(struct history *history, struct history_state *out);

/* ---- out: on the history's thread only */

/* Runs the task there, after what was queued before. False: there is no history. */
bool history_post(struct history *history, struct task *task);

struct history_window {
  const char *device;
  uint64_t from, to; /* CLOCK_REALTIME, ns */
  uint32_t points;   /* at most, 1 … HISTORY_POINTS */
};

/* Each point is of what was between the one before and itself. */
struct history_point {
  uint64_t time;                           /* of its end */
  uint64_t used, peak, allocated, largest; /* averages; largest free: the least */
  uint32_t fragmentation;                  /* hundredths of a percent, average */
};

/* One walk over the tier that suits the window, and over finer ones for its end. */
struct history_usage {
  uint64_t seconds; /* how many were sampled; 0: nothing is known, and nothing below */
  uint64_t first;   /* time of the oldest sample found */
  uint64_t average, peak, p50, p95; /* of used; percentiles within 2 % */
  uint64_t made, made_bytes, freed;
  uint64_t levels[HISTORY_LEVELS]; /* seconds at each */
  struct {
    uint64_t seconds, average; /* seconds 0: unknown */
  } hours[24], weekdays[7];    /* UTC; weekdays[0] is Monday */
  struct history_point points[HISTORY_POINTS];
  uint32_t point_count;
};
void history_usage(struct history *history, const struct history_window *window,
                   struct history_usage *out);

struct history_operation {
  char action[HISTORY_WORD];
  uint64_t count, errors, sum_ns, max_ns;
  uint64_t buckets[HISTORY_BUCKETS];
};
/* One for each action, by its name. Of from … to by whole minutes, of more than six hours by whole
 * hours. */
uint32_t history_operations(struct history *history, const struct history_window *window,
                            struct history_operation *out, uint32_t max);

struct history_route {
  char source[SPEC_ID], target[SPEC_ID], path[16];
  uint64_t count, failed, bytes;            /* count: with the failed ones; bytes: without */
  uint64_t p50_per_second, best_per_second; /* 0: none went through */
};
uint32_t history_transfers(struct history *history, const struct history_window *window,
                           struct history_route *out, uint32_t max);

/* The newest `max` of from … to (of the device, when one is named), oldest first. */
uint32_t history_events(struct history *history, const struct history_window *window,
                        struct history_event *out, uint32_t max);

/* The newest `max`, oldest first; 0: a gap. */
uint32_t history_uses(struct history *history, uint64_t *out, uint32_t max);

#endif
