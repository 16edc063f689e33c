/*
 * ram: two cards may each reach most of the host's memory, beside a pool of it: what they have in
 * use is different pages, what they could have is the same ones. A card may have a piece that was
 * cut out of the RAM before the host counted it, so the largest one counts in full.
 */
#include "service/ram.h"

#include "base/units.h"

void ram_init(struct ram *ram, const struct service *s) {
  *ram = (struct ram){.whole = false};
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    if (!device->info->host_memory || device->budget.used_bytes == DEVICE_BYTES_UNKNOWN)
      continue;
    ram->whole |= device->info->whole_host;
    ram->bytes = device->budget.used_bytes + device->budget.free_bytes;
    ram->room_bytes = state_host_room(s, device);
  }
}

static uint64_t known(uint64_t bytes) { return bytes == DEVICE_BYTES_UNKNOWN ? 0 : bytes; }

static void add(const struct view_figures *one, bool available_only, struct view_figures *sum) {
  sum->available_bytes += one->available_bytes;
  if (available_only)
    return;
  sum->total_bytes += one->total_bytes;
  sum->used_bytes += known(one->used_bytes);
  sum->external_bytes += known(one->external_bytes);
}

void ram_add(struct ram *ram, const struct device_info *info, const struct view_figures *one,
             struct view_figures *sum) {
  bool card = info->memory == DEVICE_UNIFIED;
  if (!ram->bytes || (!card && !info->host_memory)) {
    add(one, false, sum);
    return;
  }
  add(one, card && ram->whole, &ram->sum); /* the whole host's figures have its own in them */
  if (card)
    ram->largest_bytes = units_max(ram->largest_bytes, one->total_bytes);
  else
    ram->pools_bytes += one->total_bytes;
}

void ram_end(const struct ram *ram, struct view_figures *sum) {
  uint64_t most = units_max(ram->bytes, units_max(ram->pools_bytes, ram->largest_bytes));
  sum->total_bytes += units_min(ram->sum.total_bytes, most);
  sum->used_bytes += units_min(ram->sum.used_bytes, most);
  sum->external_bytes += units_min(ram->sum.external_bytes, most);
  sum->available_bytes += units_min(ram->sum.available_bytes, ram->room_bytes);
}
