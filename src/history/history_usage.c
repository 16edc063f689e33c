/*
 * history_usage: one walk. The tier is the finest that has at most some thousand rows in the
 * window, so that an answer costs milliseconds whatever the window.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "history/history.h"
#include "history/history_inside.h"
#include "history/samples.h"

#define USAGE_ROWS 4000
#define DAY 86400

struct parts {
  uint64_t seconds;
  unsigned __int128 sum;
};
struct looking {
  struct history_usage *out;
  struct samples_total all, point;
  uint64_t from, step; /* s: of the points */
  uint32_t points;
  struct parts hours[24], weekdays[7];
};

static void add_part(struct parts *part, const struct samples_row *row) {
  part->seconds += row->seconds;
  part->sum += (unsigned __int128)row->averages[SAMPLES_USED] * row->seconds;
}

static void finish_point(struct looking *looking) {
  struct samples_row *row = &looking->point.row;
  if (!row->seconds || looking->out->point_count == looking->points)
    return;
  samples_settle(&looking->point);
  looking->out->points[looking->out->point_count++] = (struct history_point){
      .time = (looking->from + (row->time + 1) * looking->step) * CLOCK_SECOND,
      .used = row->averages[SAMPLES_USED],
      .peak = row->peak,
      .allocated = row->averages[SAMPLES_ALLOCATED],
      .largest = row->largest,
      .fragmentation = (uint32_t)row->averages[SAMPLES_FRAGMENTATION]};
  memset(&looking->point, 0, sizeof looking->point);
}

static void look(void *arg, const struct samples_row *row) {
  struct looking *looking = arg;
  uint64_t place = units_minus(row->time, looking->from) / looking->step;
  if (!looking->all.row.seconds)
    looking->out->first = row->time * CLOCK_SECOND;
  if (place != looking->point.row.time)
    finish_point(looking);
  looking->point.row.time = place;
  samples_join(&looking->all, row);
  samples_join(&looking->point, row);
  add_part(&looking->hours[row->time / 3600 % 24], row);
  add_part(&looking->weekdays[(row->time / DAY + 3) % 7], row); /* 1970 began on a Thursday */
}

static void conclude(struct looking *looking) {
  struct history_usage *out = looking->out;
  struct samples_row *row = &looking->all.row;
  finish_point(looking);
  samples_settle(&looking->all);
  out->seconds = row->seconds;
  out->average = row->averages[SAMPLES_USED];
  out->peak = row->peak;
  out->p50 = units_min(spread_percentile(&looking->all.spread, 50), row->peak);
  out->p95 = units_min(spread_percentile(&looking->all.spread, 95), row->peak);
  out->made = row->sums[SAMPLES_MADE];
  out->made_bytes = row->sums[SAMPLES_MADE_BYTES];
  out->freed = row->sums[SAMPLES_FREED];
  memcpy(out->levels, row->levels, sizeof out->levels);
  for (unsigned i = 0; i < 24; i++) {
    const struct parts *part = &looking->hours[i];
    out->hours[i].seconds = part->seconds;
    out->hours[i].average = part->seconds ? (uint64_t)(part->sum / part->seconds) : 0;
  }
  for (unsigned i = 0; i < 7; i++) {
    const struct parts *part = &looking->weekdays[i];
    out->weekdays[i].seconds = part->seconds;
    out->weekdays[i].average = part->seconds ? (uint64_t)(part->sum / part->seconds) : 0;
  }
}

void history_usage(struct history *history, const struct history_window *window,
                   struct history_usage *out) {
  memset(out, 0, sizeof *out);
  struct looking *looking = history ? calloc(1, sizeof *looking) : NULL;
  if (!looking)
    return;
  struct samples_walk walk = {.device = window->device,
                              .from = window->from / CLOCK_SECOND,
                              .to = window->to / CLOCK_SECOND + 1,
                              .brief = true,
                              .fn = look,
                              .arg = looking};
  uint64_t seconds = units_max(units_minus(walk.to, walk.from), 1);
  while (walk.tier < SAMPLES_HOUR && seconds / samples_step(walk.tier) > USAGE_ROWS)
    walk.tier++;
  looking->out = out;
  looking->from = walk.from;
  looking->points = (uint32_t)units_min(units_max(window->points, 1), HISTORY_POINTS);
  looking->step = units_max((seconds + looking->points - 1) / looking->points, 1);
  samples_walk(history_sql(history), &walk);
  history_asked(history);
  conclude(looking);
  free(looking);
}
