/*
 * usage: windows over the sampler's ring, and what the books know now. The trend is
 * memory/forecast's over the window.
 */
#include "service/usage.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/recorder.h"
#include "service/report.h"
#include "service/window.h"

#define USAGE_LOCKED 64 /* owners looked at per holding of the lock */

const char *const usage_directions[] = {"rising", "falling", "steady", NULL}; /* forecast.h's */

/* The window, and room for what memory/forecast wants of it. */
struct trace {
  struct window window;
  struct forecast_point points[STATE_SAMPLES];
};

static void statistics(const struct window *window, struct usage_device *out) {
  struct window_figures figures = window_figures(window);
  out->peak_bytes = units_max(figures.peak, out->current_bytes);
  out->average_bytes = window->count ? figures.average : out->current_bytes;
  out->p50_bytes = window->count ? figures.p50 : out->current_bytes;
  out->p95_bytes = window->count ? figures.p95 : out->current_bytes;
}

/* From the last `count` samples. */
static struct forecast foretell(struct trace *trace, uint64_t count) {
  const struct window *window = &trace->window;
  uint32_t n = (uint32_t)units_min(count, window->count);
  const struct state_sample *samples = window->samples + (window->count - n);
  for (uint32_t i = 0; i < n; i++)
    trace->points[i] =
        (struct forecast_point){(double)samples[i].time / 1e9, (double)samples[i].used};
  return forecast_make(trace->points, n);
}

static void trend(struct trace *trace, const struct state_device *device,
                  struct usage_device *out) {
  struct forecast found = foretell(trace, trace->window.count);
  out->direction = found.direction;
  out->bytes_per_second = found.bytes_per_second;
  out->full = forecast_when(&found, (double)device->info->total_bytes);
}

static void thin(const struct window *window, uint64_t points, struct usage_device *out) {
  uint32_t count = window->count < points ? window->count : (uint32_t)points;
  for (uint32_t i = 0; i < count; i++) {
    const struct state_sample *sample = window_point(window, i, count);
    out->samples[i] = (struct usage_sample){sample->time, sample->used, sample->allocated};
  }
  out->sample_count = count;
}

static void histograms(const struct state_device *device, struct usage_device *out) {
  for (unsigned i = 0; i < USAGE_SIZES; i++) {
    out->sizes[i].up_to_bytes = i + 1 < USAGE_SIZES ? UINT64_C(256) << (2 * i) : 0;
    out->sizes[i].count = device->sizes[i].count;
    out->sizes[i].bytes = device->sizes[i].bytes;
  }
  double limit = 0.001;
  for (unsigned i = 0; i < USAGE_LIFETIMES; i++) {
    out->lifetimes[i].up_to_seconds = i + 1 < USAGE_LIFETIMES ? limit : 0;
    out->lifetimes[i].count = device->lifetimes[i];
    limit *= 10;
  }
  for (unsigned i = 0; i < VIEW_PURPOSES; i++) {
    out->purposes[i].bytes = device->purpose_bytes[i];
    out->purposes[i].count = device->purpose_count[i];
  }
}

/* What an owner holds on a device, from its segments. */
static void owner_row(const struct service *s, const struct state_owner *owner, uint32_t device,
                      struct usage_device *out) {
  uint64_t count, bytes = state_owner_bytes(s, owner, device, &count);
  if (!count)
    return;
  uint32_t at = out->owner_count;
  if (at == USAGE_OWNERS && out->owners[at - 1].bytes >= bytes)
    return;
  if (at < USAGE_OWNERS)
    out->owner_count++;
  else
    at--;
  while (at && out->owners[at - 1].bytes < bytes) {
    out->owners[at] = out->owners[at - 1];
    at--;
  }
  memcpy(out->owners[at].name, owner->name, sizeof owner->name);
  out->owners[at].bytes = bytes;
  out->owners[at].count = count;
}

/* Some owners under the lock; false: all. */
static bool some_owners(struct service *s, uint32_t device, uint64_t *after,
                        struct usage_device *out) {
  LOCK_SCOPE(&s->lock);
  for (unsigned i = 0; i < USAGE_LOCKED; i++) {
    const struct idmap_entry *entry = idmap_next(&s->owner_ids, *after);
    if (!entry)
      return false;
    *after = entry->id;
    owner_row(s, state_owner(s, entry->value), device, out);
  }
  return true;
}

struct usage_past {
  struct recorder_question question; /* first */
  struct service *service;
  uint64_t start, end;
  uint32_t points;
  bool wanted[VIEW_DEVICES];
  struct history_usage devices[];
};

/* On the history's thread. */
static void ask_past(struct history *history, struct recorder_question *question) {
  struct usage_past *past = (struct usage_past *)question;
  for (uint32_t i = 0; i < past->service->device_count; i++) {
    const struct history_window window = {.device = past->service->devices[i].info->id,
                                          .from = past->start,
                                          .to = past->end,
                                          .points = past->points};
    if (past->wanted[i])
      history_usage(history, &window, &past->devices[i]);
  }
}

enum status usage_look_back(struct service *s, const struct usage_params *params,
                            struct usage_past **out, struct job **job, struct problem *problem) {
  uint32_t named = UINT32_MAX;
  *out = NULL;
  if (!s->history || params->window_ns <= STATE_SAMPLES * CLOCK_SECOND ||
      (params->device[0] && state_find_device(s, params->device, &named, problem)))
    return STATUS_OK;
  struct usage_past *past = calloc(1, sizeof *past + s->device_count * sizeof *past->devices);
  if (!past)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  past->question.ask = ask_past;
  past->service = s;
  past->end = clock_real();
  past->start = units_minus(past->end, params->window_ns);
  past->points = (uint32_t)params->points;
  for (uint32_t i = 0; i < s->device_count; i++)
    past->wanted[i] = named == UINT32_MAX || named == i;
  *out = past;
  return recorder_ask(s, &past->question, job, problem);
}

void usage_past_give(struct usage_past *past) { recorder_let_go((struct recorder_question *)past); }

/* What is longer ago than the samples at hand, in place of what they said. */
static void add_past(const struct usage_past *past, const struct history_usage *found,
                     struct usage_device *out) {
  if (!found->seconds)
    return;
  double seconds = (double)units_minus(past->end, found->first) / 1e9;
  out->peak_bytes = units_max(found->peak, out->current_bytes);
  out->average_bytes = found->average;
  out->p50_bytes = found->p50;
  out->p95_bytes = found->p95;
  out->total_allocations = found->made;
  out->average_allocation_bytes = found->made ? found->made_bytes / found->made : 0;
  out->allocations_per_second = seconds > 0 ? (double)found->made / seconds : 0;
  out->deallocations_per_second = seconds > 0 ? (double)found->freed / seconds : 0;
  out->sample_count = found->point_count;
  for (uint32_t i = 0; i < found->point_count; i++)
    out->samples[i] = (struct usage_sample){units_min(found->points[i].time, past->end),
                                            found->points[i].used, found->points[i].allocated};
}

static void usage_of(struct service *s, uint32_t index, const struct usage_params *params,
                     struct trace *trace, struct usage_device *out) {
  const struct state_device *device = &s->devices[index];
  struct window *window = &trace->window;
  lock_take(&s->lock);
  window_cut(window, device);
  out->device_id = device->info->id;
  out->current_bytes = state_used(s, device);
  out->active_allocations = device->allocations;
  histograms(device, out);
  lock_give(&s->lock);
  for (uint64_t after = 0; some_owners(s, index, &after, out);)
    ;
  uint64_t from = units_max(window->start, s->started_at);
  double seconds = (double)units_minus(window->end, from) / 1e9;
  out->total_allocations = window->made;
  out->average_allocation_bytes = window->made ? window->made_bytes / window->made : 0;
  out->allocations_per_second = seconds > 0 ? (double)window->made / seconds : 0;
  out->deallocations_per_second = seconds > 0 ? (double)window->freed / seconds : 0;
  statistics(window, out);
  trend(trace, device, out);
  thin(window, params->points, out);
  if (params->past)
    add_past(params->past, &params->past->devices[index], out);
}

enum status usage_make(struct service *s, const struct usage_params *params,
                       struct usage_report *out, struct problem *problem) {
  uint32_t named = UINT32_MAX;
  if (params->device[0] && state_find_device(s, params->device, &named, problem))
    return problem->status;
  if (params->past && recorder_answer(&params->past->question, problem))
    return problem->status;
  struct trace *trace = calloc(1, sizeof *trace);
  struct usage_device *devices = calloc(s->device_count, sizeof *devices);
  if (!trace || !devices) {
    free(trace);
    free(devices);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  }
  struct window *window = &trace->window;
  window->end = clock_real();
  window->start = units_minus(window->end, params->window_ns);
  *out = (struct usage_report){
      .window_start = window->start, .window_end = window->end, .devices = devices};
  for (uint32_t i = 0; i < s->device_count; i++)
    if (named == UINT32_MAX || named == i)
      usage_of(s, i, params, trace, &devices[out->count++]);
  free(trace);
  return STATUS_OK;
}

/* What is known already. */
static bool look_up(struct service *s, uint32_t index, struct forecast *found) {
  LOCK_SCOPE(&s->lock);
  *found = s->devices[index].forecast;
  return s->devices[index].foretold_at == s->devices[index].sample_count;
}

struct forecast usage_forecast(struct service *s, uint32_t index) {
  struct forecast found;
  struct state_device *device = &s->devices[index];
  struct trace *trace = look_up(s, index, &found) ? NULL : calloc(1, sizeof *trace);
  if (!trace)
    return found;
  lock_take(&s->lock);
  window_cut(&trace->window, device);
  uint64_t count = device->sample_count, since = units_minus(count, device->step_at);
  lock_give(&s->lock);
  found = foretell(trace, since);
  free(trace);
  LOCK_SCOPE(&s->lock);
  device->forecast = found;
  device->foretold_at = count;
  return found;
}
