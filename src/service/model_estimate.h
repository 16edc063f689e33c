/*
 * model_estimate: what a model takes of a device, and what its loads have taught. Kept with the
 * model, also over a restart, for the MODELS_LEARNED devices that it came to last. Private to this
 * room; under the state lock.
 */
#ifndef SERVICE_MODEL_ESTIMATE_H
#define SERVICE_MODEL_ESTIMATE_H

#include "service/model_work.h"

/* On its device; zeroed but for what the header says, where it was never loaded. */
struct estimate model_estimate_of(const struct service *s, const struct models_model *model);
/* On a device, where its segments take `known_bytes`. */
struct estimate model_estimate_on(const struct service *s, const struct models_facts *facts,
                                  uint32_t device, uint64_t known_bytes);
/* The copies are about to be made, and are there. */
void model_estimate_begin(struct model_work *work);
void model_estimate_end(struct model_work *work);

#endif
