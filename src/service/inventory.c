/*
 * inventory: devices are opened one by one at start, and stay for the life of the service.
 */
#include "service/inventory.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "service/kept.h"

enum status inventory_open(struct service *s, const struct spec *spec, struct problem *problem) {
  struct state_device *device = &s->devices[s->device_count];
  struct device_call budget = {.action = DEVICE_BUDGET};
  enum status status = device_open(spec, s->reaper, &device->device);
  if (status)
    return problem_set(problem, status, "device %s cannot be opened: %s", spec->id,
                       status_text(status));
  s->device_count++;
  device->spec = *spec;
  device->info = device_info(device->device);
  device->limit = device->info->limit_bytes;
  device->samples = calloc(STATE_SAMPLES, sizeof *device->samples);
  device->seconds = calloc(STATE_SAMPLES, sizeof *device->seconds);
  if (!device->samples || !device->seconds)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  device->answering = !device_run(device->device, &budget);
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

enum status inventory_keep(struct service *s, struct problem *problem) {
  for (uint32_t i = 0; i < s->device_count; i++)
    if (!s->devices[i].record && kept_device(s, i, false))
      return problem_set(problem, STATUS_INTERNAL_ERROR, "the ledger is full");
  return STATUS_OK;
}
