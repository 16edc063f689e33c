/*
 * worker_optimize: one worker is asked to give memory of its own back, whatever the pressure. What
 * counts is the device's figure; it is put beside what the worker had promised, and one that is
 * silent beyond its deadline gave nothing.
 */
#ifndef SERVICE_WORKER_OPTIMIZE_H
#define SERVICE_WORKER_OPTIMIZE_H

#include "service/model.h"
#include "service/mover.h"

/* With params->worker. WORKER_NOT_FOUND. OK without a job: a dry run, or it has nothing to give.
 * The job's result is a struct job_optimize without victims; it fails as the worker does. */
enum status worker_optimize_start(struct service *service, const struct caller *caller,
                                  const struct model_optimize *params, struct model_optimized *out,
                                  struct problem *problem);

/* It knows how to free memory of its own, and says that there is some. */
bool worker_optimize_promises(const struct view_worker *worker);
/* One of those is asked; what is not said here is the caller's mover_task.want. */
struct worker_ask {
  const char *worker;
  uint32_t device;   /* UINT32_MAX: all */
  uint64_t promised; /* of what is wanted, what it says it could free */
  uint32_t target_percent;
  uint64_t limit_ms;      /* in all, when it says again and again that it is at it; less than its
                             deadline, the longest silence: that */
  struct mover_want want; /* its `exclude` is copied; the job ends soon after its deadline */
};
/* An unlisted job, the caller's reference, with the same result. NULL: no memory, or the daemon
 * stops. No lock held. */
struct job *worker_optimize_ask(struct service *service, const struct caller *caller,
                                const struct worker_ask *ask);

/* What workers say they could free, with what is to be expected of it; at most `max`. */
struct worker_offer {
  struct view_opportunity said;
  uint64_t expected_bytes, promised_bytes, freed_bytes; /* the latter two: of what it was asked */
  const char *device_id;                                /* as the service has it, NULL: none */
  uint64_t model; /* one of the service's that it names, 0: none */
};
uint32_t worker_optimize_offers(struct service *service, struct worker_offer *out, uint32_t max);

#endif
