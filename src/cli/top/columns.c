/*
 * columns: a new one is a row. Ranks say what an 80-column terminal can do without.
 */
#include "cli/top/columns.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/paint.h"

static const struct top_column devices[] = {
    {.header = "DEVICE", .member = "deviceId", .width = 8},
    {.header = "MEMORY",
     .member = "utilizationPercent",
     .kind = TOP_BAR,
     .width = 20,
     .grows = true,
     .sorts = true},
    {.header = "USED", .member = "usedBytes", .width = 10, .rank = 1, .right = true, .sorts = true},
    {.header = "TOTAL", .member = "totalBytes", .width = 10, .rank = 2, .right = true},
    {.header = "FREE", .member = "availableBytes", .width = 10, .rank = 5, .right = true},
    {.header = "CACHED", .member = "cachedBytes", .width = 10, .rank = 7, .right = true},
    {.header = "OTHERS", .member = "externalBytes", .width = 10, .rank = 9, .right = true},
    {.header = "BLOCKS", .member = "activeAllocations", .width = 7, .rank = 8, .right = true},
    {.header = "HOLES", .member = "fragmentationPercent", .width = 7, .rank = 10, .right = true},
    {.header = "PRESSURE", .member = "pressure.level", .width = 8, .rank = 3, .sorts = true},
    {.header = "FULL IN", .kind = TOP_FORECAST, .width = 7, .rank = 4, .right = true},
    {.header = "HEALTH", .member = "health", .width = 8, .rank = 6},
    {.header = "NAME", .member = "name", .width = 24, .rank = 11},
    {.header = NULL}};

static const struct top_column blocks[] = {
    {.header = "ALLOCATION", .member = "allocationId", .width = 18, .rank = 4},
    {.header = "DEVICE", .member = "deviceId", .width = 8, .rank = 2, .sorts = true},
    {.header = "SIZE",
     .member = "sizeBytes",
     .width = 10,
     .right = true,
     .sorts = true,
     .word = "sizeBytes"},
    {.header = "PURPOSE", .member = "purpose", .width = 13, .rank = 5, .sorts = true},
    {.header = "STATUS", .member = "status", .width = 8, .rank = 7},
    {.header = "PRIORITY", .member = "priority", .width = 8, .rank = 9},
    {.header = "OWNER", .kind = TOP_OWNER, .width = 18, .rank = 6, .sorts = true},
    {.header = "MODEL", .member = "modelId", .width = 18, .rank = 10},
    {.header = "HELD", .member = "attachments", .width = 5, .rank = 8, .right = true},
    {.header = "AGE",
     .member = "createdAt",
     .kind = TOP_AGE,
     .width = 5,
     .rank = 1,
     .right = true,
     .sorts = true,
     .word = "createdAt"},
    {.header = "IDLE",
     .member = "lastAccessedAt",
     .kind = TOP_AGE,
     .width = 5,
     .rank = 3,
     .right = true,
     .sorts = true,
     .word = "lastAccessedAt"},
    {.header = "LABEL", .member = "label", .width = 10, .grows = true, .sorts = true},
    {.header = NULL}};

static const struct top_column models[] = {
    {.header = "MODEL", .member = "modelId", .width = 18, .rank = 5},
    {.header = "STATE", .member = "state", .width = 9, .rank = 1, .sorts = true},
    {.header = "WEIGHTS", .member = "residency", .width = 7, .rank = 3, .sorts = true},
    {.header = "DEVICE", .member = "deviceId", .width = 8, .rank = 2, .sorts = true},
    {.header = "SIZE", .member = "sizeBytes", .width = 10, .right = true, .sorts = true},
    {.header = "PRIORITY", .member = "priority", .width = 8, .rank = 7},
    {.header = "PINNED", .member = "pinned", .width = 6, .rank = 6},
    {.header = "BUSY", .member = "busy", .width = 5, .rank = 8},
    {.header = "USES", .member = "useCount", .width = 6, .rank = 9, .right = true, .sorts = true},
    {.header = "IDLE",
     .member = "lastUsedAt",
     .kind = TOP_AGE,
     .width = 5,
     .rank = 4,
     .right = true,
     .sorts = true},
    {.header = "NAME", .member = "name", .width = 10, .grows = true, .sorts = true},
    {.header = NULL}};

static const struct top_column moves[] = {
    {.header = "TRANSFER", .member = "transferId", .width = 18, .rank = 7},
    {.header = "STATUS", .member = "status", .width = 11, .rank = 1, .sorts = true},
    {.header = "DONE",
     .member = "progressPercent",
     .kind = TOP_PROGRESS,
     .width = 10,
     .grows = true},
    {.header = "SIZE", .member = "sizeBytes", .width = 10, .right = true, .sorts = true},
    {.header = "RATE", .member = "bytesPerSecond", .width = 20, .rank = 3, .right = true},
    {.header = "FROM", .member = "sourceDeviceId", .width = 8, .rank = 2},
    {.header = "TO", .member = "targetDeviceId", .width = 8, .rank = 2},
    {.header = "MODE", .member = "mode", .width = 4, .rank = 8},
    {.header = "PATH", .member = "path", .width = 11, .rank = 9},
    {.header = "AGE",
     .member = "createdAt",
     .kind = TOP_AGE,
     .width = 5,
     .rank = 4,
     .right = true,
     .sorts = true},
    {.header = "ERROR", .member = "errorCode", .width = 20, .rank = 10},
    {.header = NULL}};

const struct top_columns top_columns[TOP_PANES] = {
    [TOP_DEVICES] = {"Devices", "devices", "deviceId", devices, -1},
    [TOP_BLOCKS] = {"Allocations", "allocations", "allocationId", blocks, 2},
    [TOP_WEIGHTS] = {"Models", "models", "modelId", models, 4},
    [TOP_MOVES] = {"Transfers", "transfers", "transferId", moves, 9}};

struct reader_value top_columns_get(struct reader_value row, const char *member) {
  char outer[32];
  const char *dot = strchr(member, '.');
  if (!dot)
    return reader_get(row, member);
  snprintf(outer, sizeof outer, "%.*s", (int)(dot - member), member);
  return reader_get(reader_get(row, outer), dot + 1);
}

const char *top_columns_age(uint64_t seconds, char *out, size_t size) {
  static const struct {
    uint64_t below, unit;
    char letter;
  } steps[] = {{100, 1, 's'}, {6000, 60, 'm'}, {172800, 3600, 'h'}, {UINT64_MAX, 86400, 'd'}};
  int i = 0;
  while (i < 3 && seconds >= steps[i].below)
    i++;
  uint64_t number = seconds / steps[i].unit;
  if (number > 9999)
    snprintf(out, size, ">9999%c", steps[i].letter);
  else
    snprintf(out, size, "%u%c", (unsigned)number, steps[i].letter);
  return out;
}

static const char *unknown(char *out, size_t size) {
  snprintf(out, size, "-");
  return out;
}

static const char *age_text(const struct top_snapshot *snapshot, struct reader_value time,
                            char *out, size_t size) {
  uint64_t then = top_snapshot_parse_time(reader_text(time, ""));
  uint64_t now = top_snapshot_time(snapshot);
  if (!then)
    return unknown(out, size);
  return top_columns_age(now > then ? (now - then) / CLOCK_SECOND : 0, out, size);
}

static const char *forecast_text(const struct top_snapshot *snapshot, struct reader_value device,
                                 char *out, size_t size) {
  const char *id = reader_text(reader_get(device, "deviceId"), "");
  struct reader_value usage = top_snapshot_usage(snapshot, id);
  double seconds = reader_double(top_columns_get(usage, "trend.timeToFullSeconds"), -1);
  if (!(seconds >= 0))
    return unknown(out, size);
  return top_columns_age(seconds < 1e15 ? (uint64_t)seconds : UINT64_MAX, out, size);
}

static const char *owner_text(struct reader_value owner, char *out, size_t size) {
  uint64_t pid = reader_uint(reader_get(owner, "pid"), 0);
  const char *kind = reader_text(reader_get(owner, "kind"), "-");
  const char *name = reader_text(reader_get(owner, "name"), kind);
  if (pid)
    snprintf(out, size, "%s/%u", name, (unsigned)pid);
  else
    snprintf(out, size, "%s", name);
  return out;
}

const char *top_columns_text(const struct top_snapshot *snapshot, const struct top_column *column,
                             struct reader_value row, char *out, size_t size) {
  const char *dot = column->member ? strchr(column->member, '.') : NULL;
  switch (column->kind) {
  case TOP_AGE:
    return age_text(snapshot, reader_get(row, column->member), out, size);
  case TOP_FORECAST:
    return forecast_text(snapshot, row, out, size);
  case TOP_OWNER:
    return owner_text(reader_get(row, "owner"), out, size);
  default:
    break;
  }
  if (!dot)
    return paint_text(row, column->member, out, size);
  char outer[32];
  snprintf(outer, sizeof outer, "%.*s", (int)(dot - column->member), column->member);
  return paint_text(reader_get(row, outer), dot + 1, out, size);
}
