/*
 * use_trace: a recorded trace of used bytes, as bench/record.py writes them: lines "second KiB".
 * For bench_forecast and bench_predict.
 */
#ifndef BENCH_USE_TRACE_H
#define BENCH_USE_TRACE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/forecast.h"

#define USE_POINTS 2000 /* of a trace */

struct use_trace {
  char name[40]; /* of the file, without its folder and its ending */
  struct forecast_point points[USE_POINTS];
  uint32_t count;
};

/* False: there is no such file, or nothing in it. */
static bool use_trace_read(const char *path, struct use_trace *trace) {
  char text[256];
  FILE *file = fopen(path, "r");
  const char *slash = strrchr(path, '/');
  snprintf(trace->name, sizeof trace->name, "%.39s", slash ? slash + 1 : path);
  trace->name[strcspn(trace->name, ".")] = 0;
  trace->count = 0;
  while (file && trace->count < USE_POINTS && fgets(text, sizeof text, file)) {
    char *kib = text, *end = text;
    double seconds = strtod(text, &kib), bytes = strtod(kib, &end) * 1024;
    if (end > kib && kib > text)
      trace->points[trace->count++] = (struct forecast_point){seconds, bytes};
  }
  if (file)
    fclose(file);
  return trace->count > 1;
}

#endif
