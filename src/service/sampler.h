/*
 * sampler: the driver's figures. Once a second for the samples and levels; and when someone asks
 * and they are older than 100 ms. Private to this room.
 */
#ifndef SERVICE_SAMPLER_H
#define SERVICE_SAMPLER_H

#include "service/job.h"
#include "service/state.h"

enum status sampler_create(struct service *s);
void sampler_start(struct service *s);
void sampler_free(struct service *s);
/* OK: the driver's figures are at most 100 ms old. PENDING: *job ends when they are. */
enum status sampler_fresh(struct service *s, bool slow_facts, struct job **job);
/* The host's tasks stall: its devices are read anew, their levels follow at once. */
void sampler_stalled(struct service *s, bool all);
/* The driver had less than it last said: it is asked anew. Under the state lock. */
void sampler_refused(struct service *s, uint32_t device);
/* No reading on the reaper's thread is under way. Under the state lock. */
bool sampler_idle(const struct service *s);

#endif
