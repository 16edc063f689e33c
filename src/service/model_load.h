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
/* No lock held: the load that waited for another. OK: `model` is there. PENDING: it is being
 * loaded, in the name of the job; or again others come first: `other` is whose job. */
struct model_join;
enum status model_load_go_on(struct service *s, struct model_join *join, struct problem *problem);

#endif
