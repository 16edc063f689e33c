/*
 * model_unload: out of memory, or into RAM. Private to this room; model.h has the public part.
 */
#ifndef SERVICE_MODEL_UNLOAD_H
#define SERVICE_MODEL_UNLOAD_H

#include "service/model_work.h"

/* Under the lock: the weights, under all their names, leave the device, or their copy in RAM goes;
 * the job is unlisted and the caller's. NULL: they are being worked on, or no memory. It goes on by
 * itself. */
struct job *model_unload_victim(struct service *s, const struct caller *caller,
                                struct models_weights *weights, enum policy_act act);
/* Where a victim is afterwards. */
enum model_residency model_unload_to(enum policy_act act);

#endif
