/*
 * leak: a rise begins where the bytes were least, and is the same rise for as long as each look
 * finds the series rising.
 */
#include "memory/leak.h"

#include <math.h>

#include "memory/forecast.h"

struct window {
  struct forecast_point points[LEAK_POINTS]; /* oldest first */
  uint32_t count;
};

static void cut(const struct leak_series *series, struct window *window) {
  uint64_t have = series->count < LEAK_POINTS ? series->count : LEAK_POINTS;
  window->count = 0;
  for (uint64_t i = series->count - have; i < series->count; i++)
    window->points[window->count++] =
        (struct forecast_point){series->seconds[i % LEAK_POINTS], series->bytes[i % LEAK_POINTS]};
}

/* The last of them. */
static struct forecast_point least_of(const struct window *window) {
  struct forecast_point least = {0, INFINITY};
  for (uint32_t i = 0; i < window->count; i++)
    if (window->points[i].bytes <= least.bytes)
      least = window->points[i];
  return least;
}

void leak_add(struct leak_series *series, double seconds, double bytes) {
  struct window window;
  series->seconds[series->count % LEAK_POINTS] = seconds;
  series->bytes[series->count++ % LEAK_POINTS] = bytes;
  cut(series, &window);
  struct forecast found = forecast_make(window.points, window.count);
  struct forecast_point least = least_of(&window);
  bool rises = found.direction == FORECAST_RISING &&
               (series->rising || (seconds - least.seconds >= LEAK_LEAST_SECONDS &&
                                   bytes - least.bytes >= LEAK_LEAST_BYTES));
  if (rises && !series->rising)
    series->since = least.seconds;
  series->rising = rises;
  series->bytes_per_second = rises ? found.bytes_per_second : 0;
}
