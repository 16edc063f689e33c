/*
 * inventory: devices are opened one by one at start, and stay for the life of the service. A card
 * that two drivers have is one device, the first's: it says where it is, or who.
 */
#include "service/inventory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/os_drm.h"
#include "service/bound.h"
#include "service/kept.h"

/* "GPU-fafafafa-…" of CUDA is "fafafafa-…" of Vulkan. */
static bool same_uuid(const char *a, const char *b) {
  uint64_t x[2], y[2];
  bound_card(a, x);
  bound_card(b, y);
  return (x[0] | x[1]) && !memcmp(x, y, sizeof x);
}

/* Whether it is open under another API. Parts of one card have one address, and one API. */
static bool is_there(const struct service *s, const struct spec *spec,
                     const struct device_info *card) {
  for (uint32_t i = 0; spec->found && i < s->device_count; i++) {
    const struct device_info *info = s->devices[i].info;
    if (!strcmp(info->backend, card->backend) ||
        (!os_drm_same(info->pci, card->pci) && !same_uuid(info->uuid, card->uuid)))
      continue;
    log_info("service", "%s is the card that %s is", spec->id, info->id);
    return true;
  }
  return false;
}

/* What is known of it before it is open. */
static struct device_info guess(const struct spec *spec) {
  struct device_info info = {.backend = ""};
  snprintf(info.backend, sizeof info.backend, "%s", spec->backend);
  snprintf(info.pci, sizeof info.pci, "%s", spec->pci);
  snprintf(info.uuid, sizeof info.uuid, "%.*s", (int)strcspn(spec->uuid, "/"), spec->uuid);
  return info;
}

/* NULL where the card is there already. */
static enum status open_other(const struct service *s, const struct spec *spec,
                              struct device **out) {
  const struct device_info info = guess(spec);
  struct device *device = NULL;
  enum status status = is_there(s, spec, &info) ? STATUS_OK : device_open(spec, s->reaper, &device);
  if (status)
    return status;
  if (device && is_there(s, spec, device_info(device))) {
    device_close(device);
    device = NULL;
  }
  *out = device;
  return STATUS_OK;
}

enum status inventory_open(struct service *s, const struct spec *spec, struct problem *problem) {
  struct state_device *device = &s->devices[s->device_count];
  struct device_call budget = {.action = DEVICE_BUDGET,
                               .budget = {DEVICE_BYTES_UNKNOWN, DEVICE_BYTES_UNKNOWN, 0}};
  enum status status = open_other(s, spec, &device->device);
  if (status)
    return problem_set(problem, status, "device %s cannot be opened: %s", spec->id,
                       status_text(status));
  if (!device->device)
    return STATUS_OK;
  s->device_count++;
  device->spec = *spec;
  device->info = device_info(device->device);
  device->limit = device->info->limit_bytes;
  device->samples = calloc(STATE_SAMPLES, sizeof *device->samples);
  device->seconds = calloc(STATE_SAMPLES, sizeof *device->seconds);
  if (!device->samples || !device->seconds)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  status = device_run(device->device, &budget);
  device->answering = !status;
  device->lost = !device->info->host_memory && status == STATUS_DEVICE_UNAVAILABLE;
  state_take_budget(device, &budget.budget);
  return STATUS_OK;
}

enum status inventory_check(const struct service *s, struct problem *problem) {
  unsigned hosts = 0, whole = 0;
  for (uint32_t i = 0; i < s->device_count; i++) {
    hosts += s->devices[i].info->host_memory;
    whole += s->devices[i].info->whole_host;
    for (uint32_t k = 0; k < i; k++)
      if (!strcmp(s->devices[i].info->id, s->devices[k].info->id))
        return problem_set(problem, STATUS_INVALID_ARGUMENT, "device %s is named twice",
                           s->devices[i].info->id);
  }
  if (whole && hosts > 1)
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "a host device without a size cannot stand beside another one: "
                       "give each a size, as in --device host:0=2GiB");
  return STATUS_OK;
}

static const struct ledger_limit *limit_of(const struct service *s,
                                           const struct state_device *device) {
  return device->record ? &ledger_at(s->ledger, device->record_slot)->u.limit : NULL;
}

/* As the card that it is now. */
static bool is_kept(const struct service *s, const struct state_device *device) {
  const struct ledger_limit *limit = limit_of(s, device);
  return limit && bound_is_card(limit, device->info->uuid);
}

static bool changed(const struct service *s, const struct state_device *device) {
  const struct ledger_limit *limit = limit_of(s, device);
  return limit && limit->changed;
}

enum status inventory_keep(struct service *s, struct problem *problem) {
  for (uint32_t i = 0; i < s->device_count; i++)
    if (!is_kept(s, &s->devices[i]) && kept_device(s, i, changed(s, &s->devices[i])))
      return problem_set(problem, STATUS_INTERNAL_ERROR, "the ledger is full");
  return STATUS_OK;
}
