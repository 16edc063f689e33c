/*
 * model_load: from a card to copies: which device, whether also in RAM, what must go first.
 * Private to this room.
 */
#ifndef SERVICE_MODEL_LOAD_H
#define SERVICE_MODEL_LOAD_H

#include "base/queue.h"
#include "service/model.h"

/* On the decision thread, the card of the work known or its weights there; again after each model
 * that made room. */
void model_load_plan(struct task *task);

#endif
