/*
 * coordination: whether the two layers know the same: the daemon's ledger, and what its workers say
 * of themselves. The ledger wins for memory of the daemon, a worker for its own.
 */
#ifndef SERVICE_COORDINATION_H
#define SERVICE_COORDINATION_H

#include "service/job.h"

/* Asks the workers how they are, where that was not said just now. OK: all is known, as far as it
 * can be. PENDING: *job ends when it is, at most a second later. */
enum status coordination_fresh(struct service *service, struct job **job);

/*
 * Models that only one side has, or of which it has more than 1 MiB more or less than the other:
 * - a worker names one that is not in memory here, or not of that size;
 * - a worker that names its models does not name one that it loaded and that is in memory here.
 * Workers that did not answer for their newest generation are left out: their lists are old.
 */
uint32_t coordination_conflicts(struct service *service, const struct view_worker *workers,
                                uint32_t count);

#endif
