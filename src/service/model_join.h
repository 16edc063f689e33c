/*
 * model_join: a load of a model that is being loaded already. It has a job of its own, which waits
 * for the other's end; then the model is there, or the load goes on by itself, for what stopped the
 * other may be no matter of this one: it was cancelled, it had no room, it was the daemon's guess.
 * What is wrong with the file is told to both. Private to this room.
 */
#ifndef SERVICE_MODEL_JOIN_H
#define SERVICE_MODEL_JOIN_H

#include "service/models.h"

struct model_join {
  struct job_waiter ended;
  struct task hop;  /* the other has ended */
  struct task stir; /* it has gone on, or its own job is cancelled */
  struct service *service;
  struct job *job;   /* its own: it shows the other's progress */
  struct job *other; /* whose end is waited for */
  uint64_t model;
  bool ahead; /* the other is the daemon's guess */
  struct caller caller;
  struct model_load params;
  struct models_key key;
  struct model_file *files;
};

/* No lock held. What is needed of `join` is copied; `other` is taken over. *job is the caller's
 * reference. RATE_LIMITED: too many jobs. INTERNAL_ERROR: no memory, or no descriptors. */
enum status model_join_start(struct service *s, const struct model_join *join, struct job **job,
                             struct problem *problem);

#endif
