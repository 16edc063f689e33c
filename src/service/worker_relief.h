/*
 * worker_relief: a device that crosses relief's trigger: its workers are asked for bytes first,
 * then models make room, and last those workers are asked that promised before and did not give.
 * What counts is the driver's figure, not what a worker says. Private to this room; decision
 * thread.
 */
#ifndef SERVICE_WORKER_RELIEF_H
#define SERVICE_WORKER_RELIEF_H

#include "service/job.h"
#include "service/state.h"

#define WORKER_RELIEF_DEADLINE_MS 2000 /* a worker's longest silence: as memory.pressure says */
#define WORKER_RELIEF_LIMIT_MS 30000   /* of one that is not silent */

struct worker_relief;

/* Lets models make room on the device: a job, the caller's reference, or NULL: nothing to do. No
 * lock held. */
typedef struct job *worker_relief_fn(struct service *s, uint32_t device);

enum status worker_relief_create(struct service *s, worker_relief_fn *models);
/* One relief, unless there is one under way for this device. */
void worker_relief_start(struct service *s, uint32_t device);
/* Once a second, on the decision thread, no lock held: what workers promise now. */
void worker_relief_look(struct service *s);
/* A relief of the device is under way, or will be and somebody promises something. Under the lock.
 */
bool worker_relief_may_give(const struct service *s, uint32_t device);
/* Bytes to be expected of those who are believed, of what they promised when last looked. Under the
 * lock. */
uint64_t worker_relief_promised(const struct service *s);
/* The same on one device, by who promised: as many as have room. Whoever says on which devices his
 * memory is (optimization_opportunities) is named for those alone. Under the lock. */
void worker_relief_name(const struct service *s, uint32_t device, struct problem_space *space);
/* After the queues: nothing of it runs any more. */
void worker_relief_free(struct service *s);

#endif
