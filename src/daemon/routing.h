/*
 * routing: which of our own workers does a task. Pure.
 *
 * Where moving bytes takes a context on the device, the device has a mover of its own, whose name
 * is the device's id. All else is done by the mover of host memory, WORKERS_OWN.
 */
#ifndef DAEMON_ROUTING_H
#define DAEMON_ROUTING_H

#include "device/spec.h"
#include "service/mover.h"

struct routing {
  const struct spec *cards[VIEW_DEVICES]; /* the devices with a mover of their own; borrowed */
  unsigned count;
};

/* At most VIEW_DEVICES devices, which must stay. */
void routing_init(struct routing *routing, const struct spec *devices, unsigned count);
/* The name of the worker: the mover of the first card that bytes leave, else of the first that they
 * go to. Lives as long as the devices. */
const char *routing_of(const struct routing *routing, const struct mover_task *task);
/* Two devices between which the task moves bytes, and which no process sees both (spec.h). False:
 * there are none. */
bool routing_apart(const struct routing *routing, const struct mover_task *task,
                   const struct spec *found[2]);

#endif
