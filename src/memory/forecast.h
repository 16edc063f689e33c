/*
 * forecast: where a series of used bytes goes, and when the memory is full. Pure: a series in, an
 * answer out, no state, any thread.
 *
 * The slope is Theil and Sen's (the median of the slopes between all pairs of points: a quarter of
 * the points may be wild), and whether it is one at all is Mann and Kendall's test. P. K. Sen,
 * "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968).
 *
 * The band is that of a random walk with drift: what is taken and given is chance that adds up, so
 * the level strays by the root of the time, and the slope that was seen is bent by the same chance.
 * R. J. Hyndman, G. Athanasopoulos, "Forecasting: Principles and Practice", 5.5. (Sen's own
 * interval takes points for independent: on recorded traces it held a sixth of what came.)
 *
 * A series counts as rising when its last minutes do, in their first half as in their second (a
 * step is no trend), by more than chance would stray, and stand on new ground (the tooth of a saw
 * is none). Otherwise nothing is foretold. bench/bench_forecast says how far that is to be trusted.
 */
#ifndef MEMORY_FORECAST_H
#define MEMORY_FORECAST_H

#include <stdint.h>

#define FORECAST_SECONDS 300.0 /* of the series' end, which the slope is taken from */
#define FORECAST_LEAST 10.0    /* seconds; from less nothing is foretold */

struct forecast_point {
  double seconds, bytes; /* seconds: from any zero, rising */
};

enum forecast_direction { FORECAST_RISING, FORECAST_FALLING, FORECAST_STEADY };

struct forecast {
  enum forecast_direction direction;
  double level;            /* bytes, at the last point */
  double bytes_per_second; /* the slope, also of what is steady */
  double wander;           /* bytes that chance adds in a second, growing by the root of time */
  double seconds;          /* that slope and wander are taken from */
};

/* Fewer than 8 points, or less time: steady, all zero. Some 50 us. */
struct forecast forecast_make(const struct forecast_point *points, uint32_t count);

struct forecast_time {
  double expected, earliest, latest; /* seconds from the last point; < 0: it does not rise. A band
                                        of 90 %, if all goes on as it did */
};

/* When so many bytes are in use. */
struct forecast_time forecast_when(const struct forecast *forecast, double bytes);
/* Bytes beyond so many that are in use after so many seconds, as expected; 0: not even the late end
 * of the band says that there are. What is done on a guess is done on a safe one. */
double forecast_excess(const struct forecast *forecast, double bytes, double seconds);

#endif
