/*
 * layers: where the time went of what workers did: the daemon, the way to the worker and back, the
 * worker, the device. Sums for each minute of the last hour, by what the worker was asked. Any
 * thread.
 */
#ifndef SERVICE_LAYERS_H
#define SERVICE_LAYERS_H

#include "service/mover.h"

struct service;
struct layers;

#define LAYERS_MINUTES 60

/* Sums over what ended well. */
struct layers_row {
  uint64_t count;                /* of tasks */
  uint64_t decision_ns;          /* from the operation's beginning (of its later tasks: from when
                                    they were handed over) to the line to the worker */
  uint64_t told;                 /* of the tasks, those whose worker said how long it took: */
  uint64_t wire_ns;              /* from the line to the answer, without the worker's time */
  uint64_t split;                /* of these, those whose worker said how long the device took: */
  uint64_t worker_ns, device_ns; /* its time without the device's, and the device's */
};

enum status layers_create(struct service *service);
void layers_free(struct service *service);
/* Hands a task to the mover. `began_ns`: clock_now() when the operation began; 0: just now. */
void layers_submit(struct service *service, struct mover_task *task, uint64_t began_ns);
/* The mover's: its worker answered that it is done. A worker that claims more time than passed is
 * not believed. */
void layers_answered(const struct mover_task *task, uint64_t heard_ns);
/* Of the last window_ns, by whole minutes. */
void layers_read(struct service *service, uint64_t window_ns, struct layers_row out[MOVER_ACTIONS]);

#endif
