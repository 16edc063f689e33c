/*
 * defragment_figures: rows of figures, and their sum.
 */
#include "service/defragment_figures.h"

#include "base/units.h"

/* Hundredths of a percent, of all these devices together. */
static uint32_t overall(const struct service *s, const uint32_t *devices, uint32_t count) {
  uint64_t allocated = 0, committed = 0;
  for (uint32_t i = 0; i < count; i++) {
    allocated += s->devices[devices[i]].allocated;
    committed += s->devices[devices[i]].committed;
  }
  return state_fragmentation(allocated, committed);
}

static void add_up(struct job_defrag *result) {
  struct job_defrag_device *total = &result->total;
  for (uint32_t i = 0; i < result->device_count; i++) {
    const struct job_defrag_device *row = &result->devices[i];
    total->moved_bytes += row->moved_bytes;
    total->released_bytes += row->released_bytes;
    total->allocations_moved += row->allocations_moved;
    total->segments_released += row->segments_released;
    total->largest_before = units_max(total->largest_before, row->largest_before);
    total->largest_after = units_max(total->largest_after, row->largest_after);
  }
}

void defragment_figures_before(const struct service *s, const uint32_t *devices,
                               struct job_defrag *result) {
  for (uint32_t i = 0; i < result->device_count; i++) {
    const struct state_device *device = &s->devices[devices[i]];
    struct job_defrag_device *row = &result->devices[i];
    row->device_id = device->info->id;
    row->fragmentation_before = state_fragmentation(device->allocated, device->committed);
    row->largest_before = state_largest(s, device);
  }
  result->total.fragmentation_before = overall(s, devices, result->device_count);
}

void defragment_figures_after(const struct service *s, const uint32_t *devices,
                              struct job_defrag *result) {
  for (uint32_t i = 0; i < result->device_count; i++) {
    const struct state_device *device = &s->devices[devices[i]];
    struct job_defrag_device *row = &result->devices[i];
    row->fragmentation_after = state_fragmentation(device->allocated, device->committed);
    row->largest_after = state_largest(s, device);
  }
  add_up(result);
  result->total.fragmentation_after = overall(s, devices, result->device_count);
}

void defragment_figures_foretell(const struct service *s, const uint32_t *devices,
                                 struct job_defrag *result) {
  uint64_t allocated = 0, committed = 0;
  for (uint32_t i = 0; i < result->device_count; i++) {
    const struct state_device *device = &s->devices[devices[i]];
    struct job_defrag_device *row = &result->devices[i];
    uint64_t left = units_minus(device->committed, row->released_bytes);
    allocated += device->allocated;
    committed += left;
    row->fragmentation_after = state_fragmentation(device->allocated, left);
    row->largest_after = state_largest(s, device) + row->released_bytes;
  }
  add_up(result);
  result->total.fragmentation_after = state_fragmentation(allocated, committed);
}
