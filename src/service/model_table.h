/*
 * model_table: the card of a model is kept beside its weights: a small segment of host memory, so
 * that a restart needs no file. Private to this room.
 */
#ifndef SERVICE_MODEL_TABLE_H
#define SERVICE_MODEL_TABLE_H

#include "service/model_work.h"

/* Takes a place for the card, unless it has one, and writes it there; goes on with
 * model_commit. Where there is no room, the model does without: the next daemon will not know
 * its tensors. No lock held. */
void model_table_make(struct model_work *work);
/* Under the lock: the record. */
void model_table_commit(struct model_work *work);
/* Under the lock: gives the card of weights that are in memory no more back. */
void model_table_drop(struct service *s, struct models_weights *weights);
/* Under the lock, at start: takes the allocation over as the card. False: it is none. */
bool model_table_adopt(struct service *s, struct models_weights *weights, uint32_t index);

#endif
