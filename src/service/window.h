/*
 * window: the newest part of a device's samples, copied, and what is said of it. Private to this
 * room.
 */
#ifndef SERVICE_WINDOW_H
#define SERVICE_WINDOW_H

#include "service/state.h"

struct window {
  uint64_t start, end;                        /* the caller's: CLOCK_REALTIME */
  struct state_sample samples[STATE_SAMPLES]; /* since the start, oldest first */
  uint32_t count;
  uint64_t made, made_bytes, freed; /* also of the second that is not over yet */
};

/* Under the lock: all but start and end. */
void window_cut(struct window *window, const struct state_device *device);

/* Of used bytes; all zero without a sample. */
struct window_figures {
  uint64_t average, p50, p95, peak;
};
struct window_figures window_figures(const struct window *window);
/* The sample that stands for point i of `points` (at most as many as there are samples): evenly
 * spread, the newest always among them. */
const struct state_sample *window_point(const struct window *window, uint32_t i, uint32_t points);

#endif
