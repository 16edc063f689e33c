/*
 * slab: sizes. Which requests share a segment, and how large an owner's next shared segment is
 * (design 4c): few hundred segments whatever the amount, and at most one partly used slab (1/64)
 * after a defragmentation. Pure.
 */
#ifndef MEMORY_SLAB_H
#define MEMORY_SLAB_H

#include <stdbool.h>
#include <stdint.h>

#define SLAB_GRANULE                                                                               \
  UINT64_C(256) /* offsets within a slab; the default alignment of the contract */
#define SLAB_MIN (UINT64_C(2) << 20) /* a CUDA VMM granule */
#define SLAB_MAX (UINT64_C(1) << 30)

/* From this size up a request gets a segment of its own: max(1 MiB, limit / 4096). */
uint64_t slab_dedicated_from(uint64_t device_limit);
/* Size of the next slab of an owner that has `committed` bytes on the device and wants `request`
 * bytes at `alignment`: committed / 64 as a power of two in SLAB_MIN … SLAB_MAX, never smaller than
 * the request needs. */
uint64_t slab_next_size(uint64_t committed, uint64_t request, uint64_t alignment);
/* Size of a dedicated segment: the request rounded up to the device's granularity. 0 on overflow.
 */
uint64_t slab_dedicated_size(uint64_t request, uint64_t granularity);

#endif
