/*
 * bench_forecast: memory/forecast put back into recorded traces, and what it said held against what
 * came. No clock is read: the figures are the same on every machine.
 *
 *     bench_forecast FILE…      lines "second KiB", as bench/record.py writes them
 *
 * Each 5 s of a trace it is asked, from what was before alone, when each of nine sizes is reached:
 * those at the tenths between the least and the most that the trace has. Hindsight is the first
 * sample that reaches the size.
 *
 *   forecast.300s.looks     questions whose hindsight was 180 to 480 s away (60s: 30 to 90, 120s:
 *                           90 to 180)
 *   forecast.300s.foretold  share of them that got a time for an answer
 *   forecast.300s.error     of those, median of |said - hindsight| / hindsight; .seconds: of
 *                           |said - hindsight|
 *   forecast.300s.held      of those, share whose hindsight was within the band
 *   forecast.alarms         answers of 300 s or less where the trace goes on for twice as long
 *   forecast.false          share of them where the size was not reached by then
 *   line.…                  the same of a line of least squares through the same five minutes
 *   forecast.NAME.…         of one trace, all three together
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/forecast.h"
#include "use_trace.h"

#define EVERY 5.0
#define FIRST 30.0 /* seconds of a trace before it is asked */
#define SIZES 9
#define SOON 300.0
#define ANSWERS 65536
#define HORIZONS 3

static const struct {
  const char *name;
  double from, to;
} horizons[HORIZONS] = {{"60s", 30, 90}, {"120s", 90, 180}, {"300s", 180, 480}};

/* The answers to one kind of question. */
struct tally {
  uint32_t looks, foretold, held, alarms, wrong;
  double errors[ANSWERS], seconds[ANSWERS];
};

/* From the first `count` points, when so many bytes are reached. */
typedef struct forecast_time (*foreteller)(const struct forecast_point *points, uint32_t count,
                                           double bytes);

static struct forecast_time robust(const struct forecast_point *points, uint32_t count,
                                   double bytes) {
  struct forecast found = forecast_make(points, count);
  return forecast_when(&found, bytes);
}

/* Least squares: what one would do without thinking. */
static struct forecast_time line(const struct forecast_point *points, uint32_t count,
                                 double bytes) {
  double last = points[count - 1].seconds, n = 0, t = 0, b = 0, tt = 0, tb = 0;
  for (uint32_t i = count; i-- > 0 && last - points[i].seconds <= FORECAST_SECONDS;) {
    double at = points[i].seconds - last;
    n++;
    t += at;
    b += points[i].bytes;
    tt += at * at;
    tb += at * points[i].bytes;
  }
  double slope = n * tt - t * t > 0 ? (n * tb - t * b) / (n * tt - t * t) : 0;
  double when = slope > 0 ? fmax(0, (bytes - (b - slope * t) / n) / slope) : -1;
  return (struct forecast_time){when, when, when};
}

/* The n-th of the sizes that are asked for. */
static double size_of(const struct use_trace *trace, int n) {
  double least = trace->points[0].bytes, most = least;
  for (uint32_t i = 1; i < trace->count; i++) {
    least = fmin(least, trace->points[i].bytes);
    most = fmax(most, trace->points[i].bytes);
  }
  return least + (most - least) * n / (SIZES + 1);
}

/* Seconds from a point until the trace has so much; < 0: it never has. */
static double hindsight(const struct use_trace *trace, uint32_t at, double bytes) {
  for (uint32_t i = at; i < trace->count; i++)
    if (trace->points[i].bytes >= bytes)
      return trace->points[i].seconds - trace->points[at].seconds;
  return -1;
}

static void judge(struct tally *tally, struct forecast_time said, double truth) {
  tally->looks++;
  if (said.expected < 0 || tally->foretold == ANSWERS)
    return;
  tally->seconds[tally->foretold] = fabs(said.expected - truth);
  tally->errors[tally->foretold++] = fabs(said.expected - truth) / truth;
  tally->held += said.earliest <= truth && truth <= said.latest;
}

/* `left`: how much longer the trace goes on. */
static void judge_alarm(struct tally *tally, double said, double truth, double left) {
  if (said < 0 || said > SOON || 2 * said > left)
    return;
  tally->alarms++;
  tally->wrong += truth < 0 || truth > fmax(2 * said, EVERY);
}

static void ask(const struct use_trace *trace, uint32_t at, foreteller tell,
                struct tally *tallies) {
  double left = trace->points[trace->count - 1].seconds - trace->points[at].seconds;
  for (int n = 1; n <= SIZES; n++) {
    double bytes = size_of(trace, n), truth = hindsight(trace, at, bytes);
    if (trace->points[at].bytes >= bytes)
      continue;
    struct forecast_time said = tell(trace->points, at + 1, bytes);
    judge_alarm(&tallies[HORIZONS], said.expected, truth, left);
    for (int h = 0; h < HORIZONS; h++)
      if (truth >= horizons[h].from && truth < horizons[h].to) {
        judge(&tallies[h], said, truth);
        judge(&tallies[HORIZONS], said, truth);
      }
  }
}

static void ask_all(const struct use_trace *trace, foreteller tell, struct tally *tallies) {
  double next = trace->points[0].seconds + FIRST;
  for (uint32_t at = 0; at < trace->count; at++)
    if (trace->points[at].seconds >= next) {
      ask(trace, at, tell, tallies);
      next = trace->points[at].seconds + EVERY;
    }
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, uint32_t count) {
  qsort(values, count, sizeof *values, by_value);
  return values[count / 2];
}

/* A figure that nobody asked for is not printed. */
static void print(const char *who, const char *what, struct tally *tally) {
  printf("%s.%s.looks=%u\n", who, what, tally->looks);
  if (tally->looks)
    printf("%s.%s.foretold=%.4f\n", who, what, (double)tally->foretold / tally->looks);
  if (!tally->foretold)
    return;
  printf("%s.%s.error=%.4f\n", who, what, median(tally->errors, tally->foretold));
  printf("%s.%s.seconds=%.1f\n", who, what, median(tally->seconds, tally->foretold));
  printf("%s.%s.held=%.4f\n", who, what, (double)tally->held / tally->foretold);
}

static void print_alarms(const char *who, const char *dot, const char *what,
                         const struct tally *tally) {
  printf("%s%s%s.alarms=%u\n", who, dot, what, tally->alarms);
  if (tally->alarms)
    printf("%s%s%s.false=%.4f\n", who, dot, what, (double)tally->wrong / tally->alarms);
}

static void test(const char *who, foreteller tell, int count, char **paths) {
  static struct use_trace trace;
  static struct tally all[HORIZONS + 1], one[HORIZONS + 1];
  memset(all, 0, sizeof all);
  for (int i = 0; i < count; i++)
    if (use_trace_read(paths[i], &trace)) {
      memset(one, 0, sizeof one);
      ask_all(&trace, tell, one);
      ask_all(&trace, tell, all);
      print(who, trace.name, &one[HORIZONS]);
      print_alarms(who, ".", trace.name, &one[HORIZONS]);
    }
  for (int h = 0; h < HORIZONS; h++)
    print(who, horizons[h].name, &all[h]);
  print_alarms(who, "", "", &all[HORIZONS]);
}

int main(int argc, char **argv) {
  test("forecast", robust, argc - 1, argv + 1);
  test("line", line, argc - 1, argv + 1);
  return argc > 1 ? 0 : 2;
}
