#include "device/absent.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/units.h"

#define ABSENT_GRANULARITY (64 * KIB) /* nothing is made in it */

struct owner {
  uint64_t size_bytes;
};

static enum status absent_open(const struct spec *spec, void **out) {
  struct owner *owner = calloc(1, sizeof *owner);
  if (!owner)
    return STATUS_INTERNAL_ERROR;
  owner->size_bytes = spec->size_bytes;
  *out = owner;
  return STATUS_OK;
}

static void absent_close(void *owner) { free(owner); }

static enum status absent_describe(void *arg, struct device_info *info) {
  const struct owner *owner = arg;
  snprintf(info->name, sizeof info->name, "absent");
  info->type = DEVICE_GPU;
  info->memory = DEVICE_VRAM;
  info->total_bytes = info->limit_bytes = owner->size_bytes;
  info->granularity = ABSENT_GRANULARITY;
  return STATUS_OK;
}

static enum status absent_budget(void *owner, struct device_budget *budget) {
  (void)owner;
  (void)budget;
  return STATUS_DEVICE_UNAVAILABLE;
}

static enum status absent_create(void *owner, uint64_t size, struct share *out) {
  (void)owner;
  (void)size;
  (void)out;
  return STATUS_DEVICE_UNAVAILABLE;
}

static void absent_release(void *owner, struct share *share, uint64_t size, bool exported) {
  (void)owner;
  (void)size;
  (void)exported;
  share_close(share);
}

void absent_table(struct backend *table) {
  table->open = absent_open;
  table->close = absent_close;
  table->describe = absent_describe;
  table->budget = absent_budget;
  table->create = absent_create;
  table->release = absent_release;
  table->commit = NULL;
  table->resident = NULL;
  table->settle = NULL;
  table->processes = NULL;
}
