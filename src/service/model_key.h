/*
 * model_key: idempotency keys of loads: the same key from the same domain answers with the first
 * result. The job has it for as long as it is listed, the model's record after that. A load that
 * failed has no result: it may be tried again. Private to this room.
 */
#ifndef SERVICE_MODEL_KEY_H
#define SERVICE_MODEL_KEY_H

#include "service/models.h"

/* Zeroed without a key, and for a dry run. Needs no lock. */
void model_key_make(const struct caller *caller, const struct model_load *params,
                    struct models_key *out);
/* Under the lock. OK: the key came before; *out is what it led to. NOT_FOUND. CONFLICT: it came
 * with other arguments. */
enum status model_key_find(struct service *s, const struct models_key *key,
                           struct model_started *out, struct problem *problem);

#endif
