/*
 * manager: the worker's state: devices, and the segments that are mapped here. A segment is known
 * by its id; its descriptor comes on fd 3, before the first line that names it. Any thread.
 */
#ifndef WORKER_MANAGER_H
#define WORKER_MANAGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/share.h"
#include "device/device.h"
#include "device/spec.h"

struct manager;

enum status manager_create(struct manager **out);
/* Nothing may be in use. */
void manager_free(struct manager *manager);
/* A device that segments may name. The same id again is ignored. */
enum status manager_add_device(struct manager *manager, const struct spec *spec);

struct manager_arrival {
  uint64_t segment, size;
  char device[SPEC_ID];
};
/* Maps it; the share stays the caller's. CONFLICT: it is here already. */
enum status manager_add_segment(struct manager *manager, const struct manager_arrival *arrival,
                                const struct share *share);
/* Uses a segment: waits up to 1 s for it to arrive. INVALID_ARGUMENT: it did not, or offset + size
 * leave it. Give it back. */
enum status manager_use(struct manager *manager, uint64_t segment, struct device_segment **out,
                        struct problem *problem);
void manager_done(struct manager *manager, uint64_t segment);
/* Unmaps it, when nobody uses it any more (waits for that). NOT_FOUND: it is not here. */
enum status manager_drop(struct manager *manager, uint64_t segment);
/* Sum of the sizes of mapped segments on a device ("": all), and how many. */
uint64_t manager_mapped(struct manager *manager, const char *device, uint32_t *count);

#endif
