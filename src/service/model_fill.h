/*
 * model_fill: the bytes of a work's new copies. Private to this room.
 */
#ifndef SERVICE_MODEL_FILL_H
#define SERVICE_MODEL_FILL_H

struct model_work;

/* All places are taken. Goes on with model_work_commit or model_work_fail; no lock held. */
void model_fill_start(struct model_work *work);

#endif
