/*
 * model_record: what the ledger keeps of a model, and how models come back after a restart. Their
 * bytes are ordinary allocations of an owner of kind `model`, whose number is the model's id.
 * Private to this room; under the state lock.
 */
#ifndef SERVICE_MODEL_RECORD_H
#define SERVICE_MODEL_RECORD_H

#include "service/models.h"

/* The next version. Without room for it the model has no record, and is not there after a restart;
 * its memory then is. */
void model_record_write(struct service *s, uint32_t index);
void model_record_drop(struct service *s, uint32_t index);

/* One that an earlier daemon left; before model_record_adopted. `text` is the record's, in
 * MODEL_RECORD_TEXT bytes, zeroed behind it. INTERNAL_ERROR: no room. CONFLICT: it has no name. */
#define MODEL_RECORD_TEXT 8192
struct model_record_left {
  uint32_t slot, text_slot;
  const char *text;
};
enum status model_record_adopt(struct service *s, const struct model_record_left *left);
/* After owners, segments and allocations: each model finds its bytes. */
void model_record_adopted(struct service *s);
/* When operations may begin: what was under way when the daemon died is given back, for a model is
 * whole or absent. */
void model_record_tidy(struct service *s);

#endif
