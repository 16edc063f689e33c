/*
 * slab: an owner's slabs grow with what he has, so that any amount is a few hundred segments: the
 * next is 1/64 of what he has committed, as a power of two.
 */
#include "memory/slab.h"

#include "base/units.h"

#define SLAB_SHARE 64      /* of the committed bytes; the most that one half-used slab can waste */
#define SLAB_DEDICATED MIB /* below, a segment of one's own costs more than it saves */
#define SLAB_DEVICE_PART 4096

uint64_t slab_dedicated_from(uint64_t device_limit) {
  return units_max(SLAB_DEDICATED, device_limit / SLAB_DEVICE_PART);
}

uint64_t slab_next_size(uint64_t committed, uint64_t request, uint64_t alignment) {
  uint64_t slack = alignment > SLAB_GRANULE ? alignment : 0;
  uint64_t wanted = units_power_up(units_max(committed / SLAB_SHARE, 1));
  uint64_t size = units_min(units_max(wanted, SLAB_MIN), SLAB_MAX);
  uint64_t least = units_up(units_min(request, UINT64_C(1) << 62), SLAB_GRANULE) + slack;
  return units_max(size, units_power_up(least));
}

uint64_t slab_dedicated_size(uint64_t request, uint64_t granularity) {
  return request > UINT64_MAX - granularity ? 0 : units_up(request, granularity);
}
