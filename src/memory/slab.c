/*
 * slab: an owner's slabs grow with what he has, so that any amount is a few hundred segments, or
 * some eighty where each is costly: the next is a part of what he has committed.
 */
#include "memory/slab.h"

#include "base/units.h"

#define SLAB_MIN (2 * MIB)
#define SLAB_PART 64 /* of the committed bytes: the most that one half-used slab can waste */
#define SLAB_COSTLY_MIN (16 * MIB)
#define SLAB_COSTLY_PART 16
#define SLAB_DEDICATED MIB /* below, a segment of one's own costs more than it saves */
#define SLAB_DEVICE_PART 4096

uint64_t slab_dedicated_from(uint64_t device_limit) {
  return units_max(SLAB_DEDICATED, device_limit / SLAB_DEVICE_PART);
}

uint64_t slab_next_size(const struct slab_want *want) {
  uint64_t slack = want->alignment > SLAB_GRANULE ? want->alignment : 0;
  uint64_t part = want->committed / (want->costly ? SLAB_COSTLY_PART : SLAB_PART);
  uint64_t wanted = units_power_up(units_max(part, want->costly ? SLAB_COSTLY_MIN : SLAB_MIN));
  uint64_t size = units_min(wanted, SLAB_MAX);
  uint64_t least = units_up(units_min(want->request, UINT64_C(1) << 62), SLAB_GRANULE) + slack;
  return units_max(size, units_power_up(least));
}

uint64_t slab_dedicated_size(uint64_t request, uint64_t granularity) {
  return request > UINT64_MAX - granularity ? 0 : units_up(request, granularity);
}
