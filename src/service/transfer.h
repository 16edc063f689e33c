/*
 * transfer: bytes on their way from one device to another, from the target's place to the end.
 * Private to this room.
 */
#ifndef SERVICE_TRANSFER_H
#define SERVICE_TRANSFER_H

#include "service/record.h"
#include "service/work.h"

struct transfer {
  struct space_waiter target; /* first: the space hands it back */
  struct space_waiter origin; /* a trial's own source */
  struct mover_task task;
  struct mover_segment segments[2];
  struct mover_move move;
  struct service *service;
  struct job *job;
  struct work_transfer params;
  struct record_facts facts; /* of the copy */
  char label[VIEW_LABEL], correlation[65];
  uint32_t source_device, target_device;
  uint32_t alloc;       /* 0: a trial */
  uint16_t writers_met; /* of the source before the first byte was read */
  bool exposed;         /* a client could write to the source meanwhile */
  uint64_t offset, size;
  uint64_t started_ns;
  struct problem problem;
};

/* Under the lock: marks what takes part and takes the target's place. Refused: the problem says
 * why, nothing was taken. *placed: the caller calls transfer_go when it has given the lock. The job
 * is there and the rest is filled in. */
enum status transfer_begin(struct transfer *transfer, bool *placed);
void transfer_go(struct transfer *transfer);

/* Under the lock: so many bytes took from then until now. */
void transfer_measure(struct service *s, uint32_t from, uint32_t to, uint64_t bytes,
                      uint64_t since_ns);

#endif
