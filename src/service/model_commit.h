/*
 * model_commit: new copies become what their model has: the step of a work that makes it real.
 * Private to this room.
 */
#ifndef SERVICE_MODEL_COMMIT_H
#define SERVICE_MODEL_COMMIT_H

#include "service/model_work.h"

/* All new copies are whole and sealed. Records them, then the work goes on to its end. No lock
 * held. */
void model_commit(struct model_work *work);

#endif
