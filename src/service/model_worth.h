/*
 * model_worth: what it costs that weights go: their bytes times their uses in the last hour.
 * Private to this room; under the state lock.
 */
#ifndef SERVICE_MODEL_WORTH_H
#define SERVICE_MODEL_WORTH_H

#include "service/models.h"

double model_worth_of(const struct service *s, const struct models_weights *weights,
                      uint64_t bytes);
/* Of all that has bytes on a device (UINT32_MAX: on any), without copies that can be spared. */
double model_worth_all(struct service *s, uint32_t device);
/* Hundredths of a percent, 10,000 at most. */
uint32_t model_worth_share(double gone, double all);

#endif
