/*
 * model_give: copies that go, and the wait until their bytes are back. Private to this room.
 */
#ifndef SERVICE_MODEL_GIVE_H
#define SERVICE_MODEL_GIVE_H

#include "service/model_work.h"

/* Without the lock: gives what `gives` and `former` name, then ends the work, with what came back
 * and who still holds of it in the job's result. */
void model_give(struct model_work *work);

#endif
