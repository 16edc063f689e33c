/*
 * slab: sizes. Which requests share a segment, and how large an owner's next shared segment is
 * (design 4c): few hundred segments whatever the amount, and at most one partly used slab after a
 * defragmentation (1/64; where segments are costly, 1/16). Pure.
 */
#ifndef MEMORY_SLAB_H
#define MEMORY_SLAB_H

#include <stdbool.h>
#include <stdint.h>

#define SLAB_GRANULE                                                                               \
  UINT64_C(256) /* offsets within a slab; the default alignment of the contract */
#define SLAB_MAX (UINT64_C(1) << 30)

/* From this size up a request gets a segment of its own: max(1 MiB, limit / 4096). */
uint64_t slab_dedicated_from(uint64_t device_limit);
struct slab_want {
  uint64_t committed; /* what the owner has on the device */
  uint64_t request, alignment;
  bool costly; /* a segment costs the device's driver a millisecond to make, map and give back */
};
/* Size of the owner's next slab: a part of what he has, as a power of two up to SLAB_MAX, never
 * smaller than the request needs. 1/64 and 2 MiB at least; costly 1/16 and 16 MiB. */
uint64_t slab_next_size(const struct slab_want *want);
/* Size of a dedicated segment: the request rounded up to the device's granularity. 0 on overflow.
 */
uint64_t slab_dedicated_size(uint64_t request, uint64_t granularity);

#endif
