/*
 * model_uses: how often a model was used in the last hour. Pure; the caller keeps it, zeroed at
 * first.
 */
#ifndef SERVICE_MODEL_USES_H
#define SERVICE_MODEL_USES_H

#include <stdint.h>

#define MODEL_USES_SLOTS 12 /* of five minutes: it is known to that */

struct model_uses {
  uint64_t slot; /* of the newest count, since clock_now() was 0 */
  uint16_t counts[MODEL_USES_SLOTS];
};

/* now_ns: clock_now(), never less than the one before. */
void model_uses_add(struct model_uses *uses, uint64_t now_ns);
uint32_t model_uses_hour(const struct model_uses *uses, uint64_t now_ns);

#endif
