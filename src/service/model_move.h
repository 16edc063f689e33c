/*
 * model_move: a whole model on its way to another device. Private to this room.
 */
#ifndef SERVICE_MODEL_MOVE_H
#define SERVICE_MODEL_MOVE_H

#include "service/model_work.h"
#include "service/work.h"

struct model_move {
  const struct caller *caller;
  const struct work_transfer *params;
  uint32_t source, target; /* devices */
  uint64_t key[2];         /* of the request; both 0: none */
  uint32_t key_args;
};
/* Under the lock: all checks, then a job that goes on by itself, or for dry_run the impact.
 * MODEL_NOT_FOUND, FORBIDDEN, MODEL_BUSY (attached, worked on, not resident), CONFLICT (elsewhere,
 * pinned, the copy's name is taken), a 507. */
enum status model_move_start(struct service *s, const struct model_move *move,
                             struct work_started *out, struct problem *problem);

/* For model_work, of a work that transfers. A part has arrived; no lock held. */
void model_move_shipped(struct model_work *work);
/* Under the lock: the copies are recorded; the models' records make it so. */
void model_move_commit(struct model_work *work);
/* Under the lock: of one that moved, its names have a new device, or nothing has changed. */
void model_move_tell(struct model_work *work);
/* The work is over, its job not yet; no lock held. */
void model_move_ended(struct model_work *work);

#endif
