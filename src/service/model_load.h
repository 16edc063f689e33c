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
/* No lock held: the load that waited for another begins, in the name of its job, or finds the model
 * there: the job ends. Or again others come first: `other` is whose job, else NULL. */
struct model_join;
void model_load_go_on(struct service *s, struct model_join *join);

#endif
