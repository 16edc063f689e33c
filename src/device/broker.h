/*
 * broker: the owner half of a device in a process of its own, `memkeep-worker --own DEVICE`, where
 * the process that wants to own it does not see it (spec.h). The process makes memory and hands out
 * its descriptor, and keeps nothing of it: it may die, or be killed because it does not answer, and
 * is started again by the next call. What it made stays with who has the descriptors.
 *
 * The wire is base/packet's, one question and one answer at a time:
 *   {"call":"describe"}                  -> {"status":"OK","name":…,"total_bytes":…}
 *   {"call":"budget"}                    -> {"status":"OK","free_bytes":…,"used_bytes":…}
 *   {"call":"create","size_bytes":…}     -> {"status":"OK","handle_type":…} and the descriptor
 *   {"call":"process","index":…}         -> {"status":"OK","pid":…}; NOT_FOUND: there are no more
 */
#ifndef DEVICE_BROKER_H
#define DEVICE_BROKER_H

#include "device/backend.h"

/* Replaces the owner half of a backend's table by the broker's; what is optional there and not
 * asked of it has its default. A call waits 5 s for its answer, the first one of a process 30 s.
 * DEVICE_UNAVAILABLE: there was none. */
void broker_table(struct backend *table);

#endif
