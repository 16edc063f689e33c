/*
 * told: a small table by device id. The newest word counts.
 */
#include "worker/told.h"

#include <stdio.h>
#include <string.h>

static const char *const words[TOLD_LEVELS] = {"low", "moderate", "high", "critical"};

/* A new one where there is room; NULL: there is none, or it has no name. */
static struct told_device *device_of(struct told *told, const char *id) {
  for (unsigned i = 0; i < told->count; i++)
    if (!strcmp(told->devices[i].id, id))
      return &told->devices[i];
  if (!id[0] || strlen(id) >= SPEC_ID || told->count == TOLD_DEVICES)
    return NULL;
  struct told_device *device = &told->devices[told->count++];
  snprintf(device->id, sizeof device->id, "%s", id);
  return device;
}

static void take_pressure(struct told_device *device, const char *level,
                          struct reader_value percent) {
  for (unsigned i = 0; i < TOLD_LEVELS; i++) {
    if (strcmp(words[i], level) != 0)
      continue;
    device->level = (enum told_level)i;
    device->percent = reader_double(percent, 0);
    device->pressure_known = true;
  }
}

void told_initialize(struct told *told, struct reader_value data) {
  struct reader_value limits = reader_get(data, "limits");
  for (size_t i = 0; i < reader_count(limits); i++) {
    struct reader_value row = reader_at(limits, i);
    struct told_device *device = device_of(told, reader_text(reader_get(row, "device_id"), ""));
    if (!device)
      continue;
    device->max_bytes = reader_uint(reader_get(row, "max_bytes"), 0);
    device->limit_known = reader_get(row, "max_bytes").json != NULL;
    take_pressure(device, reader_text(reader_get(row, "pressure_level"), ""),
                  reader_get(row, "pressure_percent"));
  }
}

void told_hear(struct told *told, const char *event, struct reader_value data) {
  if (!strcmp(event, "memory.thresholds"))
    told_initialize(told, data);
  if (strcmp(event, "memory.pressure") != 0)
    return;
  struct told_device *device = device_of(told, reader_text(reader_get(data, "device_id"), ""));
  if (device)
    take_pressure(device, reader_text(reader_get(data, "level"), ""), reader_get(data, "percent"));
}

struct told_device told_of(const struct told *told, const char *device) {
  struct told_device sum = {.limit_known = false};
  for (unsigned i = 0; i < told->count; i++) {
    const struct told_device *one = &told->devices[i];
    if (device[0] && strcmp(one->id, device) != 0)
      continue;
    sum.limit_known = sum.limit_known || one->limit_known;
    sum.max_bytes += one->max_bytes;
    if (one->pressure_known && (!sum.pressure_known || one->percent > sum.percent)) {
      sum.percent = one->percent;
      sum.level = one->level;
      sum.pressure_known = true;
    }
  }
  return sum;
}

const char *told_word(const struct told_device *device) {
  return device->pressure_known ? words[device->level] : NULL;
}

void told_judge(struct told_device *device, struct reader_value thresholds) {
  if (!device->pressure_known || !reader_get(thresholds, words[TOLD_MODERATE]).json)
    return;
  device->level = TOLD_LOW;
  for (unsigned i = TOLD_MODERATE; i < TOLD_LEVELS; i++)
    if (device->percent >= reader_double(reader_get(thresholds, words[i]), 100.01))
      device->level = (enum told_level)i;
}
