/*
 * forecast: the end of the series is cut into at most BUCKETS stretches of equal time, each one
 * point at its medians: the cost does not grow with the series (BUCKETS^2 / 2 slopes), and a wild
 * sample is gone before it is a point.
 */
#include "memory/forecast.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#define BUCKETS 48
#define PAIRS (BUCKETS * (BUCKETS - 1) / 2)
#define LEAST_POINTS 8
#define BUCKET_SAMPLES 64    /* of a stretch, the first so many count */
#define SURE 2.576           /* standard deviations: one false alarm in a hundred */
#define BAND 1.645           /* 90 % */
#define HALF_SHARE 0.25      /* of the slope, that each half shows at least */
#define CLEAR_OF_NOISE 4.0   /* times the middle deviation, that the slope moves in its time */
#define BLOCKS 6             /* steps that say how it strays: long ones, for chance comes in runs */
#define CLEARLY 0.05         /* of the range that was before */
#define LEAST_MOVE 1048576.0 /* bytes; less is nobody's worry */

struct series {
  struct forecast_point points[BUCKETS];
  uint32_t count;
};

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Sorts. */
static double median(double *values, uint32_t count) {
  qsort(values, count, sizeof *values, by_value);
  return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static struct forecast_point middle(const struct forecast_point *points, uint32_t count) {
  double values[BUCKET_SAMPLES] = {0};
  uint32_t n = count < BUCKET_SAMPLES ? count : BUCKET_SAMPLES;
  for (uint32_t i = 0; i < n; i++)
    values[i] = points[i].bytes;
  return (struct forecast_point){points[(n - 1) / 2].seconds, median(values, n)};
}

/* Stretches without a point are left out. */
static struct series thin(const struct forecast_point *points, uint32_t count) {
  struct series series = {.count = 0};
  double start = points[0].seconds, each = fmax(points[count - 1].seconds - start, 1) / BUCKETS;
  for (uint32_t at = 0, n; at < count && series.count < BUCKETS; at += n) {
    double end = start + each * (floor((points[at].seconds - start) / each) + 1);
    for (n = 1; at + n < count && points[at + n].seconds < end; n++)
      ;
    series.points[series.count++] = middle(points + at, n);
  }
  return series;
}

/* Of all pairs, sorted; *s: how many more rise than fall. */
static uint32_t slopes_of(const struct forecast_point *points, uint32_t count, double *slopes,
                          double *s) {
  uint32_t n = 0;
  *s = 0;
  for (uint32_t i = 0; i < count; i++)
    for (uint32_t j = i + 1; j < count; j++) {
      double rise = points[j].bytes - points[i].bytes;
      *s += (rise > 0) - (rise < 0);
      slopes[n++] = rise / (points[j].seconds - points[i].seconds);
    }
  qsort(slopes, n, sizeof *slopes, by_value);
  return n;
}

/* Of s, where nothing but chance is at work; without the correction for ties, so on the safe side.
 */
static double deviation(uint32_t count) {
  double n = count;
  return sqrt(n * (n - 1) * (2 * n + 5) / 18);
}

/* Whether a half goes the way of the whole. */
static bool agrees(const struct forecast_point *points, uint32_t count, double slope) {
  double slopes[PAIRS] = {0}, s;
  uint32_t n = slopes_of(points, count, slopes, &s);
  double way = slope > 0 ? 1 : -1;
  return n && way * s > BAND * deviation(count) && slopes[n / 2] / slope > HALF_SHARE;
}

/* How far the points lie from the line, in the middle. */
static double noise(const struct series *series, double slope) {
  double off[BUCKETS] = {0};
  const struct forecast_point *p = series->points;
  for (uint32_t i = 0; i < series->count; i++)
    off[i] = p[i].bytes - slope * p[i].seconds;
  double level = median(off, series->count);
  for (uint32_t i = 0; i < series->count; i++)
    off[i] = fabs(off[i] - level);
  return median(off, series->count);
}

/* In one second, from the steps over BLOCKS equal times, less what the slope explains. */
static double wander_of(const struct series *series, double slope) {
  const struct forecast_point *p = series->points;
  uint32_t last = series->count - 1;
  double squares = 0;
  for (uint32_t i = 0; i < BLOCKS; i++) {
    const struct forecast_point *from = &p[i * last / BLOCKS], *to = &p[(i + 1) * last / BLOCKS];
    double step = to->bytes - from->bytes - slope * (to->seconds - from->seconds);
    squares += step * step;
  }
  return sqrt(squares / (p[last].seconds - p[0].seconds) * BLOCKS / (BLOCKS - 1));
}

/* What the slope's band is wide, to each side. */
static double slope_band(const struct forecast *forecast) {
  return BAND * forecast->wander / sqrt(forecast->seconds);
}

static bool is_trend(const struct series *series, const struct forecast *found, double s) {
  const struct forecast_point *p = series->points;
  uint32_t count = series->count, half = count / 2;
  double slope = found->bytes_per_second, moved = fabs(slope) * found->seconds;
  if (fabs(s) < SURE * deviation(count) || moved < LEAST_MOVE ||
      moved < CLEAR_OF_NOISE * noise(series, slope) || fabs(slope) <= slope_band(found))
    return false;
  return agrees(p, half, slope) && agrees(p + half, count - half, slope);
}

/* Clearly above all of what was before. */
static bool is_new_ground(const struct forecast_point *before, uint32_t count, double bytes) {
  if (!count)
    return true;
  struct series series = thin(before, count);
  double low = series.points[0].bytes, high = low;
  for (uint32_t i = 1; i < series.count; i++) {
    low = fmin(low, series.points[i].bytes);
    high = fmax(high, series.points[i].bytes);
  }
  return bytes > high + CLEARLY * (high - low);
}

struct forecast forecast_make(const struct forecast_point *points, uint32_t count) {
  struct forecast found = {.direction = FORECAST_STEADY};
  uint32_t first = 0;
  while (first < count && points[count - 1].seconds - points[first].seconds > FORECAST_SECONDS)
    first++;
  if (count - first < LEAST_POINTS ||
      points[count - 1].seconds - points[first].seconds < FORECAST_LEAST)
    return found;
  struct series series = thin(points + first, count - first);
  if (series.count < LEAST_POINTS)
    return found;
  double slopes[PAIRS] = {0}, s;
  uint32_t n = slopes_of(series.points, series.count, slopes, &s);
  found.level = series.points[series.count - 1].bytes;
  found.bytes_per_second = slopes[n / 2];
  found.wander = wander_of(&series, found.bytes_per_second);
  found.seconds = series.points[series.count - 1].seconds - series.points[0].seconds;
  if (!is_trend(&series, &found, s))
    return found;
  if (found.bytes_per_second < 0)
    found.direction = FORECAST_FALLING;
  else if (is_new_ground(points, first, found.level))
    found.direction = FORECAST_RISING;
  return found;
}

/*
 * After t seconds the level has the variance wander^2 * (t + t^2 / seconds): what chance adds from
 * now on, and what it did to the slope. The band ends where the level, that is slope * t, is BAND
 * deviations from `room`: a square equation in t, whose first term is > 0 because the slope is
 * beyond its band.
 */
struct forecast_time forecast_when(const struct forecast *forecast, double bytes) {
  double room = fmax(0, bytes - forecast->level), slope = forecast->bytes_per_second;
  if (forecast->direction != FORECAST_RISING)
    return (struct forecast_time){-1, -1, -1};
  double band = slope_band(forecast), chance = pow(BAND * forecast->wander, 2);
  double a = slope * slope - band * band, half = slope * room + chance / 2;
  double root = sqrt(fmax(0, half * half - a * room * room));
  double expected = room / slope;
  return (struct forecast_time){expected, fmin(expected, (half - root) / a),
                                fmax(expected, (half + root) / a)};
}

double forecast_excess(const struct forecast *forecast, double bytes, double seconds) {
  struct forecast_time when = forecast_when(forecast, bytes);
  if (when.expected < 0 || when.latest > seconds)
    return 0;
  return fmax(0, forecast->level + forecast->bytes_per_second * seconds - bytes);
}
