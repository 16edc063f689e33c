/*
 * analytics: one walk over a device's ring of samples, one over the listed transfers. The lock is
 * held for a copy of the samples, as for usage.
 */
#include "service/analytics.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/recorder.h"
#include "service/window.h"

/* ---- one device ---- */

static void statistics(const struct window *window, struct analytics_device *out) {
  struct window_figures figures = window_figures(window);
  for (uint32_t i = 0; i < window->count; i++)
    out->level_seconds[window->samples[i].level]++;
  out->known = window->count;
  out->average_bytes = figures.average;
  out->p95_bytes = figures.p95;
  out->peak_bytes = figures.peak;
}

static void fragmentation(const struct window *window, struct analytics_device *out) {
  out->point_count = (uint32_t)units_min(window->count, ANALYTICS_POINTS);
  for (uint32_t i = 0; i < out->point_count; i++) {
    const struct state_sample *sample = window_point(window, i, out->point_count);
    out->points[i] =
        (struct analytics_point){sample->time, sample->largest_free,
                                 state_fragmentation(sample->allocated, sample->committed)};
  }
}

struct mean {
  double sum;
  uint64_t count;
};

static double mean_of(const struct mean *mean) {
  return mean->count ? mean->sum / (double)mean->count : -1;
}

static void add_to(struct mean *mean, double value) {
  mean->sum += value;
  mean->count++;
}

static void busiest(const struct window *window, struct analytics_device *out) {
  struct mean hours[ANALYTICS_HOURS] = {{0}}, weekdays[ANALYTICS_WEEKDAYS] = {{0}};
  for (uint32_t i = 0; i < window->count; i++) {
    uint64_t hour = window->samples[i].time / CLOCK_SECOND / 3600;
    uint64_t weekday = (hour / 24 + 3) % ANALYTICS_WEEKDAYS; /* 1970 began on a Thursday */
    add_to(&hours[hour % ANALYTICS_HOURS], (double)window->samples[i].used);
    add_to(&weekdays[weekday], (double)window->samples[i].used);
  }
  for (int i = 0; i < ANALYTICS_HOURS; i++)
    out->hours[i] = mean_of(&hours[i]);
  for (int i = 0; i < ANALYTICS_WEEKDAYS; i++)
    out->weekdays[i] = mean_of(&weekdays[i]);
}

/* ---- transfers ---- */

struct ended {
  uint32_t row;
  double rate;
};
struct collecting {
  uint64_t start;
  struct analytics_transfer *rows;
  uint32_t row_count;
  struct ended *ended; /* those that ended well */
  uint32_t ended_count, room;
};

static struct analytics_transfer *row_of(struct collecting *collecting,
                                         const struct job_transfer *transfer) {
  const char *path = transfer->path_known ? device_path_name(transfer->path) : NULL;
  struct analytics_transfer *row = collecting->rows, *end = row + collecting->row_count;
  while (row < end && (row->path != path || strcmp(row->from, transfer->source_device) != 0 ||
                       strcmp(row->to, transfer->target_device) != 0))
    row++;
  if (row < end)
    return row;
  if (collecting->row_count == ANALYTICS_TRANSFERS)
    return NULL;
  collecting->row_count++;
  *row = (struct analytics_transfer){.path = path, .p50 = -1, .best = -1};
  memcpy(row->from, transfer->source_device, sizeof row->from);
  memcpy(row->to, transfer->target_device, sizeof row->to);
  return row;
}

static void note_rate(struct collecting *collecting, uint32_t row, double rate) {
  if (collecting->ended_count == collecting->room) {
    uint32_t room = collecting->room ? 2 * collecting->room : 256;
    struct ended *more = realloc(collecting->ended, room * sizeof *more);
    if (!more)
      return;
    collecting->ended = more;
    collecting->room = room;
  }
  collecting->ended[collecting->ended_count++] = (struct ended){row, rate};
}

/* Under the jobs lock. */
static void collect(const struct job_view *view, void *arg) {
  struct collecting *collecting = arg;
  bool over = view->state == JOB_COMPLETED || view->state == JOB_FAILED;
  struct analytics_transfer *row = over && view->completed_at >= collecting->start
                                       ? row_of(collecting, &view->result.transfer)
                                       : NULL;
  if (!row)
    return;
  row->count++;
  row->failed += view->state == JOB_FAILED;
  row->bytes += view->bytes_done;
  uint64_t ns = units_minus(view->completed_at, view->started_at);
  if (view->state == JOB_COMPLETED && ns)
    note_rate(collecting, (uint32_t)(row - collecting->rows),
              (double)view->bytes_done * 1e9 / (double)ns);
}

static int by_rate(const void *a, const void *b) {
  const struct ended *x = a, *y = b;
  if (x->row != y->row)
    return x->row < y->row ? -1 : 1;
  return (x->rate > y->rate) - (x->rate < y->rate);
}

static void rates(struct collecting *collecting) {
  if (collecting->ended_count)
    qsort(collecting->ended, collecting->ended_count, sizeof *collecting->ended, by_rate);
  for (uint32_t i = 0, n; i < collecting->ended_count; i += n) {
    struct ended *first = &collecting->ended[i];
    for (n = 1; i + n < collecting->ended_count && first[n].row == first->row; n++)
      ;
    collecting->rows[first->row].p50 = first[(n - 1) / 2].rate;
    collecting->rows[first->row].best = first[n - 1].rate;
  }
}

/* ---- longer ago ---- */

struct analytics_past {
  struct recorder_question question; /* first */
  struct service *service;
  uint64_t start, end;
  bool longer; /* than the samples at hand: devices and transfers are asked for too */
  struct history_operation operations[ANALYTICS_OPERATIONS];
  uint32_t operation_count;
  struct history_route routes[ANALYTICS_TRANSFERS];
  uint32_t route_count;
  struct history_usage devices[];
};

/* On the history's thread. */
static void ask_past(struct history *history, struct recorder_question *question) {
  struct analytics_past *past = (struct analytics_past *)question;
  struct history_window window = {.from = past->start, .to = past->end, .points = ANALYTICS_POINTS};
  past->operation_count =
      history_operations(history, &window, past->operations, ANALYTICS_OPERATIONS);
  if (!past->longer)
    return;
  past->route_count = history_transfers(history, &window, past->routes, ANALYTICS_TRANSFERS);
  for (uint32_t i = 0; i < past->service->device_count; i++) {
    window.device = past->service->devices[i].info->id;
    history_usage(history, &window, &past->devices[i]);
  }
}

enum status analytics_look_back(struct service *s, uint64_t window_ns, struct analytics_past **out,
                                struct job **job, struct problem *problem) {
  *out = NULL;
  if (!s->history)
    return STATUS_OK;
  struct analytics_past *past = calloc(1, sizeof *past + s->device_count * sizeof *past->devices);
  if (!past)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  past->question.ask = ask_past;
  past->service = s;
  past->longer = window_ns > STATE_SAMPLES * CLOCK_SECOND;
  past->end = clock_real();
  past->start = units_minus(past->end, window_ns);
  *out = past;
  enum status status = recorder_ask(s, &past->question, job, problem);
  return status == STATUS_HISTORY_UNAVAILABLE && !past->longer ? STATUS_OK : status;
}

/* In place of what the samples at hand said. The last point's time may not be over yet. */
static void take_past(const struct history_usage *found, uint64_t end,
                      struct analytics_device *out) {
  if (!found->seconds)
    return;
  out->known = true;
  out->peak_bytes = units_max(found->peak, out->peak_bytes);
  out->average_bytes = found->average;
  out->p95_bytes = found->p95;
  out->point_count = (uint32_t)units_min(found->point_count, ANALYTICS_POINTS);
  for (uint32_t i = 0; i < out->point_count; i++)
    out->points[i] =
        (struct analytics_point){units_min(found->points[i].time, end), found->points[i].largest,
                                 found->points[i].fragmentation};
  for (int i = 0; i <= PRESSURE_CRITICAL; i++)
    out->level_seconds[i] = found->levels[i];
  for (int i = 0; i < ANALYTICS_HOURS; i++)
    out->hours[i] = found->hours[i].seconds ? (double)found->hours[i].average : -1;
  for (int i = 0; i < ANALYTICS_WEEKDAYS; i++)
    out->weekdays[i] = found->weekdays[i].seconds ? (double)found->weekdays[i].average : -1;
}

static const char *path_of(const char *word) {
  for (int path = DEVICE_PATH_SAME; path <= DEVICE_PATH_STAGED; path++)
    if (strcmp(device_path_name((enum device_path)path), word) == 0)
      return device_path_name((enum device_path)path);
  return NULL;
}

static void take_routes(const struct analytics_past *past, struct analytics *made) {
  made->transfer_count = past->route_count;
  for (uint32_t i = 0; i < past->route_count; i++) {
    const struct history_route *route = &past->routes[i];
    struct analytics_transfer *row = &made->transfers[i];
    *row = (struct analytics_transfer){
        .path = path_of(route->path),
        .count = route->count,
        .failed = route->failed,
        .bytes = route->bytes,
        .p50 = route->p50_per_second ? (double)route->p50_per_second : -1,
        .best = route->best_per_second ? (double)route->best_per_second : -1};
    memcpy(row->from, route->source, sizeof row->from);
    memcpy(row->to, route->target, sizeof row->to);
  }
}

void analytics_past_give(struct analytics_past *past) {
  recorder_let_go((struct recorder_question *)past);
}

bool analytics_operations(const struct analytics_past *past, const struct history_operation **out,
                          uint32_t *count) {
  struct problem problem;
  if (recorder_answer(&past->question, &problem))
    return false;
  *out = past->operations;
  *count = past->operation_count;
  return true;
}

/* ---- all of it ---- */

void analytics_free(struct analytics *analytics) {
  free(analytics->devices);
  free(analytics->transfers);
}

static void look_at_transfers(struct service *s, struct analytics *made) {
  struct collecting collecting = {.start = made->window_start, .rows = made->transfers};
  job_visit_transfers(s, collect, &collecting);
  rates(&collecting);
  free(collecting.ended);
  made->transfer_count = collecting.row_count;
}

enum status analytics_make(struct service *s, uint64_t window_ns, const struct analytics_past *past,
                           struct analytics *out, struct problem *problem) {
  uint64_t end = clock_real(), start = units_minus(end, window_ns);
  bool longer = past && past->longer;
  if (longer && recorder_answer(&past->question, problem))
    return problem->status;
  struct window *window = calloc(1, sizeof *window);
  struct analytics made = {.window_start = start, .window_end = end};
  if (window)
    window->start = start;
  made.devices = calloc(s->device_count, sizeof *made.devices);
  made.transfers = calloc(ANALYTICS_TRANSFERS, sizeof *made.transfers);
  if (!window || !made.devices || !made.transfers) {
    free(window);
    analytics_free(&made);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  }
  for (; made.device_count < s->device_count; made.device_count++) {
    struct analytics_device *device = &made.devices[made.device_count];
    device->device_id = s->devices[made.device_count].info->id;
    lock_take(&s->lock);
    window_cut(window, &s->devices[made.device_count]);
    lock_give(&s->lock);
    statistics(window, device);
    fragmentation(window, device);
    busiest(window, device);
    if (longer)
      take_past(&past->devices[made.device_count], past->end, device);
  }
  free(window);
  if (longer)
    take_routes(past, &made);
  else
    look_at_transfers(s, &made);
  *out = made;
  return STATUS_OK;
}
