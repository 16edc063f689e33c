/*
 * model_relief: what models do without being asked: they make room when a device's use crosses the
 * trigger, once per crossing, give up their second copies when all programs stall for want of
 * memory, and go when they were idle for as long as they were allowed to stay.
 * Private to this room.
 */
#ifndef SERVICE_MODEL_RELIEF_H
#define SERVICE_MODEL_RELIEF_H

#include "service/job.h"
#include "service/state.h"

/* In whose name memory is relieved, of models and of workers. */
extern const struct caller model_relief_caller;

/* Models make room on a device down to relief's target: a job, the caller's reference; NULL: there
 * is nothing to do. No lock held. */
struct job *model_relief_begin(struct service *s, uint32_t device);
/* Once a second, on the decision thread, no lock held. */
void model_relief_look(struct service *s);

#endif
