/*
 * model_optimize: models make room for an allocation. Private to this room; model.h has the
 * optimisation that anybody can ask for.
 */
#ifndef SERVICE_MODEL_OPTIMIZE_H
#define SERVICE_MODEL_OPTIMIZE_H

#include "service/models.h"

struct model_optimize_need {
  uint32_t device;
  uint64_t bytes;   /* to be freed there */
  int max_priority; /* of models that may go */
};
/* Under the lock: an unlisted job, the caller's reference, under which so many bytes are freed.
 * Where the models that may go do not cover it, workers that promise something are asked first, and
 * models go for what is left if they cover that. NULL: all of them together do not. When it is
 * over, what waits for memory is tried again. */
struct job *model_optimize_room(struct service *s, const struct caller *caller,
                                const struct model_optimize_need *need);
/* Under the lock: adds which models would go for that, beside what workers would give where those
 * are not enough; `covered`: it would be. */
void model_optimize_foretell(struct service *s, const struct model_optimize_need *need,
                             struct model_plan *out);

#endif
