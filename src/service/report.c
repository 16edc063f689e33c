/*
 * report: the figures of contract 2, copied out under the state lock.
 */
#include "service/report.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/os_proc.h"
#include "base/units.h"
#include "service/coordination.h"
#include "service/model_room.h"
#include "service/ram.h"
#include "service/sampler.h"
#include "service/state.h"
#include "service/usage.h"

#define REPORT_ERROR_NS                                                                            \
  (60 * CLOCK_SECOND) /* a device error shows in its health this long (contract 8) */

enum status report_fresh(struct service *s, bool refresh, struct job **job) {
  return sampler_fresh(s, refresh, job);
}

static bool answers(const struct state_device *device) {
  return device->answering && !device->gone;
}

static enum view_health health_of(const struct state_device *device) {
  if (!answers(device))
    return VIEW_ERROR;
  if (device->pressure.level == PRESSURE_CRITICAL ||
      (device->error_at && clock_now() - device->error_at < REPORT_ERROR_NS))
    return VIEW_CRITICAL;
  return device->pressure.level >= PRESSURE_HIGH ? VIEW_WARNING : VIEW_HEALTHY;
}

static void figures_of(const struct service *s, const struct state_device *device,
                       struct view_figures *out) {
  const struct device_info *info = device->info;
  uint64_t used = state_used(s, device);
  *out = (struct view_figures){
      .total_bytes = info->total_bytes,
      .used_bytes = used,
      .available_bytes = state_available(s, device),
      .allocated_bytes = device->allocated,
      .committed_bytes = device->committed,
      .cached_bytes = device->cached,
      .external_bytes = info->whole_host ? units_minus(used, device->resident) : device->external,
      .reserved_bytes = device->reserved,
      .resident_bytes = info->host_memory ? device->resident : device->committed + device->cached,
      .lingering_bytes = device->lingering,
      .largest_free_bytes = state_largest(s, device),
      .utilization = (uint32_t)units_min(units_percent(used, info->total_bytes), 10000),
      .fragmentation = state_fragmentation(device->allocated, device->committed),
      .active_allocations = device->allocations,
      .segments = device->segments};
  if (info->share == SHARE_VULKAN_OPAQUE) /* no driver says what a context takes */
    out->overhead_bytes = DEVICE_BYTES_UNKNOWN;
  if (device->silent || !answers(device)) {
    out->used_bytes = out->external_bytes = DEVICE_BYTES_UNKNOWN;
    out->utilization = 0;
  }
  if (!answers(device)) /* nothing new comes to lie there */
    out->available_bytes = out->largest_free_bytes = 0;
}

static void processes_of(const struct state_device *device, const struct view_worker *workers,
                         uint32_t worker_count, struct view_device *out) {
  out->process_count = device->process_count;
  for (uint32_t i = 0; i < device->process_count; i++) {
    out->processes[i].process = device->processes[i];
    out->processes[i].managed = false;
    for (uint32_t w = 0; w < worker_count; w++)
      if (workers[w].pid == device->processes[i].pid)
        out->processes[i].managed = true;
  }
}

static void device_of(const struct service *s, const struct state_device *device,
                      struct view_device *out) {
  memset(out, 0, sizeof *out);
  out->info = device->info;
  figures_of(s, device, &out->figures);
  out->health = health_of(device);
  out->pressure = device->pressure;
  out->limit_max_bytes = device->limit;
  out->limit_reserved_bytes = device->reserved;
  out->updated_at = device->budget_real;
}

static void add_up(const struct service *s, struct view_host *out) {
  struct view_figures *sum = &out->figures;
  struct ram ram;
  ram_init(&ram, s);
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct view_figures *one = &out->devices[i].figures;
    ram_add(&ram, s->devices[i].info, one, sum);
    sum->allocated_bytes += one->allocated_bytes;
    sum->committed_bytes += one->committed_bytes;
    sum->cached_bytes += one->cached_bytes;
    sum->reserved_bytes += one->reserved_bytes;
    sum->lingering_bytes += one->lingering_bytes;
    sum->active_allocations += one->active_allocations;
    sum->segments += one->segments;
    sum->largest_free_bytes = units_max(sum->largest_free_bytes, one->largest_free_bytes);
  }
  ram_end(&ram, sum);
  sum->utilization = units_percent(sum->used_bytes, sum->total_bytes);
  sum->fragmentation = state_fragmentation(sum->allocated_bytes, sum->committed_bytes);
}

void report_host(struct service *s, struct view_host *out) {
  struct view_worker workers[VIEW_WORKERS];
  uint32_t worker_count = service_workers(s, workers, VIEW_WORKERS), unsynchronized = 0;
  memset(out, 0, offsetof(struct view_host, devices));
  out->workers = worker_count;
  for (uint32_t i = 0; i < worker_count; i++) {
    out->workers_healthy += view_worker_is_well(workers[i].state);
    out->last_sync = units_max(out->last_sync, workers[i].asked_at);
    unsynchronized += !workers[i].synchronized;
  }
  out->synchronized = out->workers_healthy == worker_count && !unsynchronized;
  out->conflicts = coordination_conflicts(s, workers, worker_count);
  LOCK_SCOPE(&s->lock);
  state_pressure(s);
  out->device_count = s->device_count;
  out->pressure = s->pressure;
  out->updated_at = UINT64_MAX;
  out->cache_age_ns = units_minus(clock_real(), s->slow_facts_at);
  for (uint32_t i = 0; i < s->device_count; i++) {
    device_of(s, &s->devices[i], &out->devices[i]);
    processes_of(&s->devices[i], workers, worker_count, &out->devices[i]);
    out->updated_at = units_min(out->updated_at, out->devices[i].updated_at);
  }
  add_up(s, out);
}

enum status report_device(struct service *s, const char *name, struct view_device *out,
                          struct problem *problem) {
  uint32_t index;
  enum status status = state_find_device(s, name, &index, problem);
  if (status)
    return status;
  struct view_worker workers[VIEW_WORKERS];
  uint32_t worker_count = service_workers(s, workers, VIEW_WORKERS);
  LOCK_SCOPE(&s->lock);
  state_pressure(s);
  device_of(s, &s->devices[index], out);
  processes_of(&s->devices[index], workers, worker_count, out);
  return STATUS_OK;
}

const char *report_device_id(const struct service *s, uint32_t index) {
  return index < s->device_count ? s->devices[index].info->id : NULL;
}

enum status report_find_device(struct service *s, const char *name, uint32_t *index,
                               struct problem *problem) {
  return state_find_device(s, name, index, problem);
}

uint32_t report_links(struct service *s, struct report_link *out, uint32_t max) {
  LOCK_SCOPE(&s->lock);
  uint32_t count = 0;
  for (uint32_t from = 0; from < s->device_count; from++)
    for (uint32_t to = 0; to < s->device_count && count < max; to++) {
      if (from == to)
        continue;
      double rate = s->devices[from].rates[to];
      out[count++] = (struct report_link){.from = s->devices[from].info->id,
                                          .to = s->devices[to].info->id,
                                          .kind = "host",
                                          .gigabytes_per_second = rate > 0 ? rate / 1e9 : -1};
    }
  return count;
}

static void pressure_figures(const struct service *s, uint32_t index,
                             const struct forecast *forecast, struct report_pressure *out) {
  const struct state_device *device = &s->devices[index];
  double critical = (double)device->info->total_bytes * s->thresholds.critical / 10000;
  struct forecast_time when = forecast_when(forecast, critical);
  if (when.expected >= 0 && (out->critical.expected < 0 || when.expected < out->critical.expected))
    out->critical = when;
  out->cached_bytes += device->cached;
  *(device->info->host_memory ? &out->unload_bytes : &out->park_bytes) +=
      model_room_reclaimable(s, index, NULL);
}

/* What there is, and is to be had, of the host (UINT32_MAX) or of a device. */
static void pressure_room(const struct service *s, uint32_t index, struct report_pressure *out) {
  struct view_figures sum = {.total_bytes = 0};
  struct ram ram;
  ram_init(&ram, s);
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    const struct view_figures one = {.total_bytes = device->info->total_bytes,
                                     .available_bytes = state_available(s, device)};
    if (index == i)
      sum = one;
    else if (index == UINT32_MAX)
      ram_add(&ram, device->info, &one, &sum);
  }
  if (index == UINT32_MAX)
    ram_end(&ram, &sum);
  out->total_bytes = sum.total_bytes;
  out->available_bytes = sum.available_bytes;
}

enum status report_pressure(struct service *s, const char *name, struct report_pressure *out,
                            struct problem *problem) {
  uint32_t index = UINT32_MAX;
  if (name[0] && state_find_device(s, name, &index, problem))
    return problem->status;
  struct os_proc_pressure psi;
  *out = (struct report_pressure){.critical = {-1, -1, -1}};
  out->psi_known = os_proc_pressure(&psi) == STATUS_OK;
  if (out->psi_known) {
    out->psi_some10 = psi.some_avg10;
    out->psi_full10 = psi.full_avg10;
  }
  struct forecast forecasts[VIEW_DEVICES];
  for (uint32_t i = 0; i < s->device_count; i++)
    if (index == UINT32_MAX || index == i)
      forecasts[i] = usage_forecast(s, i);
  LOCK_SCOPE(&s->lock);
  state_pressure(s);
  out->thresholds = s->thresholds;
  out->pressure = index == UINT32_MAX ? s->pressure : s->devices[index].pressure;
  if (index != UINT32_MAX)
    out->info = s->devices[index].info;
  pressure_room(s, index, out);
  for (uint32_t i = 0; i < s->device_count; i++)
    if (index == UINT32_MAX || index == i)
      pressure_figures(s, i, &forecasts[i], out);
  return STATUS_OK;
}

uint64_t report_excess(struct service *s, uint32_t index) {
  LOCK_SCOPE(&s->lock);
  return index < s->device_count ? state_excess(s, &s->devices[index], s->models->relief.target)
                                 : 0;
}

uint32_t report_health(struct service *s, struct report_part *out, uint32_t max) {
  struct view_worker workers[VIEW_WORKERS];
  uint32_t worker_count = service_workers(s, workers, VIEW_WORKERS), count = 0;
  for (uint32_t i = 0; i < worker_count && count < max; i++) {
    struct report_part *part = &out[count++];
    *part = (struct report_part){.ok = view_worker_is_well(workers[i].state)};
    snprintf(part->name, sizeof part->name, "worker:%.30s", workers[i].id);
    if (!part->ok)
      snprintf(part->reason, sizeof part->reason, "%s", view_worker_states[workers[i].state]);
  }
  if (s->keeper && count < max) {
    struct report_part *part = &out[count++];
    struct keeper_state keeper;
    service_keeper_state(s, &keeper);
    *part = (struct report_part){.name = "vault", .ok = keeper.durable};
    snprintf(part->reason, sizeof part->reason, "%s", keeper.why);
  }
  if (s->history && count < max) {
    struct report_part *part = &out[count++];
    struct history_state history;
    history_state(s->history, &history);
    *part = (struct report_part){.name = "history", .ok = history.on_disk || history.opening};
    memcpy(part->reason, history.reason, sizeof part->reason);
  }
  if ((s->unseen[0] || s->unserved[0]) && count < max) {
    struct report_part *part = &out[count++];
    *part = (struct report_part){.name = "cards", .ok = !s->unseen[0]};
    memcpy(part->reason, part->ok ? s->unserved : s->unseen, sizeof part->reason);
  }
  LOCK_SCOPE(&s->lock);
  for (uint32_t i = 0; i < s->device_count && count < max; i++) {
    struct report_part *part = &out[count++];
    *part = (struct report_part){.ok = s->devices[i].answering && !s->devices[i].gone};
    snprintf(part->name, sizeof part->name, "device:%.30s", s->devices[i].info->id);
    if (!part->ok)
      snprintf(part->reason, sizeof part->reason, "%s",
               s->devices[i].gone ? "not configured any more, but holds memory"
                                  : "the driver does not answer");
  }
  return count;
}
