/*
 * model_relief: what models do without being asked: they make room when a device's use crosses the
 * trigger, once per crossing, and go when they were idle for as long as they were allowed to stay.
 * Private to this room.
 */
#ifndef SERVICE_MODEL_RELIEF_H
#define SERVICE_MODEL_RELIEF_H

#include "service/state.h"

/* Once a second, on the decision thread, no lock held. */
void model_relief_look(struct service *s);

#endif
