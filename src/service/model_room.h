/*
 * model_room: models make room for others: model/policy decides who, this carries it out, one
 * victim after another. Private to this room.
 */
#ifndef SERVICE_MODEL_ROOM_H
#define SERVICE_MODEL_ROOM_H

#include "model/policy.h"
#include "service/model_work.h"

/* Models on one device as model/policy sees them; the users are indices into `weights`. */
struct model_room_picture {
  struct policy_snapshot snapshot;
  struct policy_model *models;
  struct models_weights **weights;
};
/* Under the lock. INTERNAL_ERROR: no memory. The caller frees it. */
enum status model_room_look(struct service *s, uint32_t device, struct model_room_picture *out);
void model_room_free(struct model_room_picture *picture);
/* The first of their names: a model's id, 0: none. Under the lock. */
uint64_t model_room_first_id(const struct service *s, const struct models_weights *weights);
/* What weights have on a device. Under the lock. */
uint64_t model_room_bytes(const struct service *s, const struct models_weights *weights,
                          uint32_t device);
/* What models could give of a device: those that are neither pinned nor attached nor worked on. The
 * first of them are named in `space`, unless it is NULL. Under the lock. */
uint64_t model_room_reclaimable(const struct service *s, uint32_t device,
                                struct problem_space *space);
/* Of a host device: copies, which nobody reads, of models that stay on their cards. Under the lock.
 */
uint64_t model_room_spare(const struct service *s, uint32_t device);
/* RAM that parked models may take beside what they have. Under the lock. */
uint64_t model_room_ram(const struct service *s);

/* Under the lock, for a load that does not fit: PENDING: a victim goes, call model_room_wait
 * without the lock; else the problem says what there is and what could go. */
enum status model_room_make(struct model_work *work, uint32_t device, uint64_t need);
void model_room_wait(struct model_work *work);
/* What would go. Under the lock. */
void model_room_foretell(const struct model_work *work, uint32_t device, uint64_t need,
                         struct job_trial *trial);

#endif
