/*
 * predict_room: on a device whose use is foretold to be high within the time that is looked ahead,
 * idle models are parked until it is not: by the optimisation that relief uses, in the policy's
 * order. Nothing is dropped, nobody goes who is pinned, attached, or was used just now. Private to
 * this room; decision thread.
 */
#ifndef SERVICE_PREDICT_ROOM_H
#define SERVICE_PREDICT_ROOM_H

#include "service/job.h"
#include "service/predict.h"
#include "service/state.h"

struct predict_room {
  struct task hop;
  struct job_waiter waiter;
  struct service *service;
  uint32_t device;
  struct job *job;   /* under way; NULL: none */
  uint64_t again_ns; /* clock_now(): not looked at before */
  uint64_t high_ns;  /* time until high, that the job was begun for */
};

void predict_room_init(struct predict_room *room, struct service *s, uint32_t device);
/* Once a second, no lock held. */
void predict_room_look(struct predict_room *room);

#endif
