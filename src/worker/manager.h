/*
 * manager: the worker's state: devices, the segments that are here, and files on their way into
 * one. A segment and a file are known by their ids; the descriptor comes on fd 3, before the first
 * line that names it. Any thread.
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

/* Whether it was told any device yet. */
bool manager_initialized(struct manager *manager);

struct manager_arrival {
  uint64_t segment, size;
  char device[SPEC_ID];
};
/* Takes the share over; a card's is imported as soon as may be, host memory when it is used first.
 * CONFLICT: it is here already (then the share is closed too). */
enum status manager_add_segment(struct manager *manager, const struct manager_arrival *arrival,
                                struct share *share);
/* Uses a segment: waits up to 1 s for it to arrive. INVALID_ARGUMENT: it did not. DEVICE_NOT_FOUND,
 * or what the device says: it cannot be imported (now). Give it back. */
enum status manager_use(struct manager *manager, uint64_t id, struct device_segment **out,
                        struct problem *problem);
void manager_done(struct manager *manager, uint64_t id);
/* Lets go of it, when nobody uses it any more: waits up to 1 s for that, then ALLOCATION_BUSY. One
 * that was offered may still be on its way, and is waited for as long. NOT_FOUND: it is not here.
 */
enum status manager_drop(struct manager *manager, uint64_t id);

/* Takes the share over. Kept until it is taken, a minute at most: the request that wanted it may
 * never come. Of more than 2,048 the oldest goes. */
void manager_add_file(struct manager *manager, uint64_t id, struct share *share);
/* The caller's from then on. Waits up to 1 s for it to arrive, then NOT_FOUND. */
enum status manager_take_file(struct manager *manager, uint64_t id, struct share *out);

/* Sum of the sizes of the segments on a device ("": all), and how many. */
uint64_t manager_mapped(struct manager *manager, const char *device, uint32_t *count);

#endif
