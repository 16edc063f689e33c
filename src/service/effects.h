/*
 * effects: what transfers do to models: requests that waited, and models that had to go, because of
 * the bytes that came to a device. A transfer is answerable from its start until EFFECTS_AFTER
 * after its end, for relief looks at memory only once a second and takes its time; what is known
 * later is added to its finished job. Private to this room; under the state lock.
 */
#ifndef SERVICE_EFFECTS_H
#define SERVICE_EFFECTS_H

#include "base/clock.h"
#include "service/job_work.h"
#include "service/models.h"

#define EFFECTS_AFTER (10 * CLOCK_SECOND)

struct effects;

struct effects_of {
  uint32_t target;                      /* device */
  uint64_t bytes;                       /* that come to it */
  const struct models_weights *weights; /* that are worked on meanwhile; NULL: none */
};

enum effects_kind { EFFECTS_WAITED, EFFECTS_EVICTED };

/* From here on the job says numbers instead of null. Without memory it does not. */
void effects_begin(struct service *s, struct job *job, const struct effects_of *of);
void effects_end(struct service *s, const struct job *job);
/* A request waits until the weights are no longer worked on. Said once for each request. */
void effects_weights(struct service *s, const struct models_weights *weights);
/* A device lacks `missing` bytes, and for that a request waits or a model goes: because of each
 * transfer without whose bytes it would not. */
void effects_space(struct service *s, uint32_t device, uint64_t missing, enum effects_kind kind);
void effects_free(struct service *s);

#endif
