/*
 * interface_state: the actions that ask what this worker is and has. It moves bytes of others and
 * keeps none beyond a request, so of models and caches it says that it has none.
 */
#ifndef WORKER_INTERFACE_STATE_H
#define WORKER_INTERFACE_STATE_H

#include "worker/interface.h"

void interface_state_initialize(struct interface_call *call, struct writer *w);
void interface_state_status(struct interface_call *call, struct writer *w);
void interface_state_model_info(struct interface_call *call, struct writer *w);
/* memory.unload_model, memory.park_model */
void interface_state_give_model(struct interface_call *call, struct writer *w);
void interface_state_optimize(struct interface_call *call, struct writer *w);
void interface_state_pressure(struct interface_call *call, struct writer *w);
void interface_state_models(struct interface_call *call, struct writer *w);
void interface_state_clear(struct interface_call *call, struct writer *w);
void interface_state_cleanup(struct interface_call *call, struct writer *w);

#endif
