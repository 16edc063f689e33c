/*
 * figures: what the daemon says to be null, or does not say, is unknown here too.
 */
#include "client/figures.h"

#include <math.h>
#include <string.h>

static enum mk_pressure read_level(struct reader_value level) {
  static const char *const words[] = {
      [MK_LOW] = "low", [MK_MODERATE] = "moderate", [MK_HIGH] = "high", [MK_CRITICAL] = "critical"};
  const char *word = reader_text(level, "");
  for (int i = MK_LOW; i <= MK_CRITICAL; i++)
    if (strcmp(words[i], word) == 0)
      return (enum mk_pressure)i;
  return MK_PRESSURE_UNKNOWN;
}

static uint64_t bytes(struct reader_value data, const char *name) {
  return reader_uint(reader_get(data, name), MK_UNKNOWN);
}

void figures_read(struct reader_value data, struct mk_status *out) {
  struct reader_value pressure = reader_get(data, "pressure");
  *out = (struct mk_status){
      .total = bytes(data, "total_bytes"),
      .used = bytes(data, "used_bytes"),
      .available = bytes(data, "available_bytes"),
      .allocated = bytes(data, "allocated_bytes"),
      .committed = bytes(data, "committed_bytes"),
      .cached = bytes(data, "cached_bytes"),
      .external = bytes(data, "external_bytes"),
      .largest_free = bytes(data, "largest_free_bytes"),
      .allocations = bytes(data, "active_allocations"),
      .utilization_percent = reader_double(reader_get(data, "utilization_percent"), NAN),
      .fragmentation_percent = reader_double(reader_get(data, "fragmentation_percent"), NAN),
      .pressure_percent = reader_double(reader_get(pressure, "percent"), NAN),
      .pressure = read_level(reader_get(pressure, "level"))};
}
