/*
 * window: one walk over the ring; percentiles by sorting a copy.
 */
#include "service/window.h"

#include <stdlib.h>

#include "base/units.h"

static void count(struct window *window, const struct state_second *second) {
  window->made += second->made;
  window->made_bytes += second->made_bytes;
  window->freed += second->freed;
}

void window_cut(struct window *window, const struct state_device *device) {
  /* One slot of the ring is the second that is not over yet. */
  uint64_t have = units_min(device->sample_count, STATE_SAMPLES - 1);
  window->count = 0;
  window->made = window->made_bytes = window->freed = 0;
  for (uint64_t i = device->sample_count - have; i < device->sample_count; i++) {
    const struct state_sample *sample = &device->samples[i % STATE_SAMPLES];
    if (sample->time < window->start)
      continue;
    window->samples[window->count++] = *sample;
    count(window, &device->seconds[i % STATE_SAMPLES]);
  }
  /* That one has no sample, but counts. */
  count(window, &device->seconds[device->sample_count % STATE_SAMPLES]);
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

struct window_figures window_figures(const struct window *window) {
  uint64_t values[STATE_SAMPLES];
  unsigned __int128 sum = 0;
  uint32_t n = window->count;
  if (!n)
    return (struct window_figures){0};
  for (uint32_t i = 0; i < n; i++) {
    values[i] = window->samples[i].used;
    sum += values[i];
  }
  qsort(values, n, sizeof *values, by_value);
  return (struct window_figures){.average = (uint64_t)(sum / n),
                                 .p50 = values[(n - 1) / 2],
                                 .p95 = values[(n * 95 + 99) / 100 - 1],
                                 .peak = values[n - 1]};
}

const struct state_sample *window_point(const struct window *window, uint32_t i, uint32_t points) {
  return &window->samples[(uint64_t)(i + 1) * window->count / points - 1];
}
