/*
 * interface_place: the ranges of segments that a request names.
 */
#ifndef WORKER_INTERFACE_PLACE_H
#define WORKER_INTERFACE_PLACE_H

#include "device/device.h"
#include "worker/interface.h"

struct interface_place_end {
  uint64_t segment; /* 0: none was taken */
  struct device_place place;
};

/* So many bytes, and at least one, lie there in the segment; false also without one. */
bool interface_place_holds(const struct device_place *place, uint64_t size);

/* {"segment_id","offset_bytes"}: takes the segment; so many bytes must lie in it. The problem is
 * the call's. */
enum status interface_place_take(struct interface_call *call, struct reader_value value,
                                 uint64_t size, struct interface_place_end *out);
/* One that was not taken is fine. */
void interface_place_give(struct interface_call *call, const struct interface_place_end *end);

#endif
