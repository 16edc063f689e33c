/*
 * predict_next: when a model is asked for and another one usually comes next (model/successor),
 * that one is brought into host memory, unless it is there: by a load that evicts nobody and is no
 * use of the model, while the pressure of that memory is low and a tenth of it stays free. Private
 * to this room.
 */
#ifndef SERVICE_PREDICT_NEXT_H
#define SERVICE_PREDICT_NEXT_H

#include "model/successor.h"
#include "service/job.h"
#include "service/predict.h"
#include "service/state.h"

#define PREDICT_NEXT_LEARNED 16384 /* of the last requests that the history knows */

struct predict_next {
  struct task hop;   /* on the decision thread: looks who comes next */
  struct task learn; /* on the history's thread, once */
  struct job_waiter waiter;
  struct service *service;
  struct job *job;      /* one at a time; NULL: none. The decision thread's, as is: */
  uint64_t act, failed; /* failed: the model whose load it was last: not tried again before
                           somebody asks for it; under the state lock, as are the next two */
  uint64_t acted_for;   /* the request that was acted for, as the table counts them */
  uint64_t asked_ns;    /* clock_now() of the last request */
  struct successor_table successors; /* under the state lock, of models_hash; learned from also
                                        while it is off */
};

void predict_next_init(struct predict_next *next, struct service *s);
/* What requests of earlier daemons tell, from the history. */
void predict_next_learn(struct predict_next *next);
/* Under the state lock: somebody was asked for, or a second is over: whoever could not come for
 * want of room may be able to now, for as long as the request is new. */
void predict_next_look(struct predict_next *next);

#endif
