/*
 * strain: critical pressure on a device of which nothing can be taken back (contract 8, Relief).
 * What is new and not critical itself stays out then, at once, and what need not be now is not
 * done, until use was below high for a while. Private to this room; under the state lock.
 */
#ifndef SERVICE_STRAIN_H
#define SERVICE_STRAIN_H

#include "service/state.h"

/* Whether nothing more of the device may be given to a request of this priority (VIEW_PRIORITY_…).
 */
bool strain_keeps_out(const struct service *s, uint32_t device, int priority);
/* The 507 of one who is kept out. */
enum status strain_refuse(const struct service *s, uint32_t device, uint64_t bytes,
                          struct problem *problem);
/* A request met it that had fitted otherwise: from here on it is to be left, not only to be over.
 */
void strain_met(struct service *s, uint32_t device);
/* Once a second, on the decision thread. */
void strain_look(struct service *s);

/* Whether models, caches or workers have something left that the device could have back; `pinned`:
 * pinned models count. */
bool strain_has_way_out(const struct service *s, uint32_t device, bool pinned);

#endif
