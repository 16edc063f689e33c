/*
 * status: routes 1 and 2.
 */
#include <stddef.h>

#include "ops/fragment.h"
#include "ops/op.h"
#include "ops/reply.h"
#include "ops/wait.h"
#include "service/model.h"
#include "service/report.h"

struct request {
  char device[80];
  bool refresh;
};

static void write_figures(struct writer *w, const struct view_figures *f, bool device) {
  writer_uint(w, "totalBytes", f->total_bytes);
  writer_bytes(w, "usedBytes", f->used_bytes);
  writer_uint(w, "availableBytes", f->available_bytes);
  writer_uint(w, "allocatedBytes", f->allocated_bytes);
  writer_uint(w, "committedBytes", f->committed_bytes);
  writer_uint(w, "cachedBytes", f->cached_bytes);
  writer_bytes(w, "externalBytes", f->external_bytes);
  if (device) {
    writer_uint(w, "reservedBytes", f->reserved_bytes);
    writer_uint(w, "residentBytes", f->resident_bytes);
    writer_bytes(w, "overheadBytes", f->overhead_bytes);
    writer_uint(w, "lingeringBytes", f->lingering_bytes);
  }
  if (f->used_bytes == DEVICE_BYTES_UNKNOWN)
    writer_null(w, "utilizationPercent");
  else
    writer_hundredths(w, "utilizationPercent", f->utilization);
  writer_hundredths(w, "fragmentationPercent", f->fragmentation);
}

static void write_pressure(struct writer *w, const struct view_pressure *pressure, bool since) {
  writer_object(w, "pressure");
  writer_text(w, "level", pressure_name(pressure->level));
  writer_hundredths(w, "percent", pressure->percent);
  if (since)
    writer_time(w, "since", pressure->since);
  writer_end(w);
}

static void write_process(struct writer *w, const struct view_process *one) {
  writer_object(w, NULL);
  writer_int(w, "pid", one->process.pid);
  writer_text_or_null(w, "name", one->process.name);
  writer_bytes(w, "usedBytes", one->process.used_bytes);
  writer_bool(w, "managed", one->managed);
  writer_bool(w, "deadPid", one->process.dead);
  writer_end(w);
}

/* Half of the text, and sampled only: an allocation leaves it as it is. */
static void write_processes(struct ops *ops, uint32_t index, const struct view_device *device,
                            struct writer *w) {
  const struct fragment_source source = {index, device->processes,
                                         device->process_count * sizeof *device->processes};
  size_t start = w->out->size;
  if (fragment_recall(ops_fragment(ops), &source, w))
    return;
  writer_array(w, "processes");
  for (uint32_t i = 0; i < device->process_count; i++)
    write_process(w, &device->processes[i]);
  writer_end(w);
  fragment_keep(ops_fragment(ops), &source, w, start);
}

static void write_device(struct ops *ops, uint32_t index, const struct view_device *device,
                         struct writer *w) {
  op_devices_write(w, device);
  write_figures(w, &device->figures, true);
  writer_uint(w, "largestFreeBytes", device->figures.largest_free_bytes);
  writer_uint(w, "activeAllocations", device->figures.active_allocations);
  writer_uint(w, "segments", device->figures.segments);
  write_pressure(w, &device->pressure, true);
  writer_object(w, "limits");
  writer_uint(w, "maxBytes", device->limit_max_bytes);
  writer_uint(w, "reservedBytes", device->limit_reserved_bytes);
  writer_end(w);
  write_processes(ops, index, device, w);
  writer_time(w, "lastUpdated", device->updated_at);
}

/* One piece of memory, so that a text can be known by it. */
struct told {
  uint64_t models_loaded, models_device_bytes, models_ram_bytes;
  struct view_host host;
};

static void write_models(struct writer *w, const struct told *told) {
  writer_object(w, "models");
  writer_uint(w, "loaded", told->models_loaded);
  writer_uint(w, "deviceBytes", told->models_device_bytes);
  writer_uint(w, "ramBytes", told->models_ram_bytes);
  writer_end(w);
}

static void write_books(struct ops *ops, const struct told *told, struct writer *w) {
  const struct view_host *host = &told->host;
  write_figures(w, &host->figures, false);
  writer_uint(w, "deviceCount", host->device_count);
  writer_uint(w, "activeAllocations", host->figures.active_allocations);
  write_pressure(w, &host->pressure, false);
  write_models(w, told);
  writer_object(w, "workers");
  writer_uint(w, "total", host->workers);
  writer_uint(w, "healthy", host->workers_healthy);
  writer_end(w);
  writer_object(w, "coordination");
  writer_bool(w, "isSynchronized", host->synchronized);
  writer_time(w, "lastSync", host->last_sync);
  writer_uint(w, "conflictCount", host->conflicts);
  writer_end(w);
  writer_array(w, "devices");
  for (uint32_t i = 0; i < host->device_count; i++) {
    writer_object(w, NULL);
    write_device(ops, i, &host->devices[i], w);
    writer_end(w);
  }
  writer_end(w);
  writer_time(w, "lastUpdated", host->updated_at);
}

/* The age grows by itself; all else of a report stays the same until something happens. */
static void write_host(struct ops *ops, struct told *told, struct writer *w) {
  struct view_host *host = &told->host;
  uint64_t age_ns = host->cache_age_ns;
  host->cache_age_ns = 0;
  const struct fragment_source source = {FRAGMENT_HOST, told,
                                         offsetof(struct told, host.devices) +
                                             host->device_count * sizeof *host->devices};
  size_t start = w->out->size;
  if (!fragment_recall(ops_fragment(ops), &source, w)) {
    write_books(ops, told, w);
    fragment_keep(ops_fragment(ops), &source, w, start);
  }
  writer_uint(w, "cacheAgeMs", age_ns / 1000000);
}

static enum ops_progress run_host(struct ops_call *call, void *params) {
  const struct request *status = params;
  struct model_totals models;
  struct told told;
  struct writer w;
  if (!wait_fresh(call, status->refresh))
    return OPS_LATER;
  report_host(ops_service(call->ops), &told.host);
  model_count(ops_service(call->ops), &models);
  told.models_loaded = models.loaded;
  told.models_device_bytes = models.device_bytes;
  told.models_ram_bytes = models.ram_bytes;
  reply_begin(call, &w);
  write_host(call->ops, &told, &w);
  return reply_end(call, &w);
}

static enum ops_progress run_device(struct ops_call *call, void *params) {
  const struct request *status = params;
  struct view_device device;
  struct problem problem;
  struct writer w;
  uint32_t index;
  if (report_find_device(ops_service(call->ops), status->device, &index, &problem))
    return reply_fail(call, &problem);
  if (!wait_fresh(call, status->refresh))
    return OPS_LATER;
  if (report_device(ops_service(call->ops), status->device, &device, &problem))
    return reply_fail(call, &problem);
  reply_begin(call, &w);
  write_device(call->ops, index, &device, &w);
  return reply_end(call, &w);
}

static const struct reader_field fields[] = {
    OP_DEVICE(struct request),
    OP_BOOL(struct request, refresh, "refresh", "false",
            "read the slow facts (names, totals, drivers) again"),
};

const struct ops_row op_status_host = {.action = "memory.get_status",
                                       .method = OPS_GET,
                                       .path = "/api/memory/status",
                                       .alias = "/api/memory",
                                       .role = CALLER_READ,
                                       .envelope = true,
                                       .fields = fields + 1,
                                       .field_count = 1,
                                       .query_count = 1,
                                       .params_size = sizeof(struct request),
                                       .summary = "The memory of the whole host",
                                       .answer = "Memory status",
                                       .schema = "HostStatus",
                                       .handler = run_host};

const struct ops_row op_status_device = {.action = "memory.get_status",
                                         .method = OPS_GET,
                                         .path = "/api/memory/status/{idDevice}",
                                         .role = CALLER_READ,
                                         .envelope = true,
                                         .fields = fields,
                                         .field_count = OP_COUNT(fields),
                                         .path_count = 1,
                                         .query_count = 1,
                                         .params_size = sizeof(struct request),
                                         .summary = "The memory of one device",
                                         .answer = "Device status",
                                         .schema = "DeviceStatus",
                                         .handler = run_device};
