/*
 * devices: what they are and can do, and what connects them, with the rates that transfers
 * measured.
 */
#include "ops/op.h"
#include "ops/reply.h"
#include "service/report.h"

#define LINKS (VIEW_DEVICES * VIEW_DEVICES)

struct devices {
  char device[80];
};

void op_devices_write(struct writer *w, const struct view_device *device) {
  static const char *const types[] = {"cpu", "gpu"};
  static const char *const memories[] = {"RAM", "VRAM", "UNIFIED"};
  const struct device_info *info = device->info;
  writer_text(w, "deviceId", info->id);
  writer_text(w, "name", info->name);
  writer_text(w, "type", types[info->type]);
  writer_text(w, "backend", info->backend);
  writer_text(w, "memoryType", memories[info->memory]);
  writer_text_or_null(w, "uuid", info->uuid);
  writer_text_or_null(w, "pciAddress", info->pci);
  writer_text_or_null(w, "driver", info->driver);
  writer_text(w, "health", view_healths[device->health]);
}

static void write_device(struct writer *w, const struct view_device *device) {
  const struct device_info *info = device->info;
  writer_object(w, NULL);
  op_devices_write(w, device);
  writer_uint(w, "totalBytes", info->total_bytes);
  writer_object(w, "capabilities");
  writer_text(w, "handleType", share_kind_name(info->share));
  writer_bool(w, "mappable", info->host_memory);
  writer_bool(w, "freshIsZero", info->fresh_is_zero);
  writer_uint(w, "granularityBytes", info->granularity);
  writer_end(w);
  writer_object(w, "limits");
  writer_uint(w, "maxBytes", device->limit_max_bytes);
  writer_uint(w, "reservedBytes", device->limit_reserved_bytes);
  writer_end(w);
  writer_end(w);
}

static void write_link(struct writer *w, const struct report_link *link) {
  writer_object(w, NULL);
  writer_text(w, "from", link->from);
  writer_text(w, "to", link->to);
  writer_text(w, "kind", link->kind);
  if (link->gigabytes_per_second < 0)
    writer_null(w, "gigabytesPerSecond");
  else
    writer_double(w, "gigabytesPerSecond", link->gigabytes_per_second);
  writer_end(w);
}

/* `only`: one device, and the links that begin or end there; NULL: all. */
static enum ops_progress answer(struct ops_call *call, const struct device_info *only) {
  struct view_host host;
  struct report_link links[LINKS];
  struct writer w;
  report_host(ops_service(call->ops), &host);
  uint32_t count = report_links(ops_service(call->ops), links, LINKS);
  reply_begin(call, &w);
  writer_array(&w, "devices");
  for (uint32_t i = 0; i < host.device_count; i++)
    if (!only || host.devices[i].info == only)
      write_device(&w, &host.devices[i]);
  writer_end(&w);
  writer_array(&w, "links");
  for (uint32_t i = 0; i < count; i++)
    if (!only || links[i].from == only->id || links[i].to == only->id)
      write_link(&w, &links[i]);
  writer_end(&w);
  return reply_end(call, &w);
}

static enum ops_progress run_list(struct ops_call *call, void *params) {
  (void)params;
  return answer(call, NULL);
}

static enum ops_progress run_get(struct ops_call *call, void *params) {
  struct view_device device;
  struct problem problem;
  if (report_device(ops_service(call->ops), ((const struct devices *)params)->device, &device,
                    &problem))
    return reply_fail(call, &problem);
  return answer(call, device.info);
}

static const struct reader_field fields[] = {OP_DEVICE(struct devices)};

const struct ops_row op_devices_list = {.action = "memory.list_devices",
                                        .method = OPS_GET,
                                        .path = "/api/memory/devices",
                                        .role = CALLER_READ,
                                        .envelope = true,
                                        .summary = "Devices and what connects them",
                                        .answer = "Devices",
                                        .schema = "Devices",
                                        .handler = run_list};

const struct ops_row op_devices_get = {.action = "memory.list_devices",
                                       .method = OPS_GET,
                                       .path = "/api/memory/devices/{idDevice}",
                                       .role = CALLER_READ,
                                       .envelope = true,
                                       .fields = fields,
                                       .field_count = 1,
                                       .path_count = 1,
                                       .params_size = sizeof(struct devices),
                                       .summary = "One device and its links",
                                       .answer = "Devices",
                                       .schema = "Devices",
                                       .handler = run_get};
