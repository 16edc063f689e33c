/*
 * making: an allocation on its way, from the choice of a device to its record. Private to this
 * room.
 */
#ifndef SERVICE_MAKING_H
#define SERVICE_MAKING_H

#include "service/alloc.h"
#include "service/choice.h"
#include "service/keys.h"
#include "service/record.h"
#include "service/waiting.h"

struct making {
  struct space_waiter waiter; /* first: the space hands it back */
  struct waiting_entry queued;
  struct keys_pending pending;
  struct device_call pages;
  struct mover_task zeroing;
  struct mover_segment segment;
  struct mover_move move;
  struct service *service;
  struct alloc_params params;
  struct caller caller;
  struct record_facts facts;
  uint32_t named; /* the device that was asked for, UINT32_MAX: any */
  uint64_t pid_start;
  struct job *job;
  uint64_t deadline; /* clock_now() until which it waits for memory */
  uint64_t retry_at; /* 0, or until when the driver is not asked again */
  struct job *room;  /* models that make room for it; NULL: none do */
  struct problem problem;
};

/* Under the lock, of what does not fit: who would go for it, and where it would be then. */
void making_foretell(const struct making *making, struct alloc_made *out);
void making_answer(const struct service *s, uint32_t index, struct job_allocate *out);
/* Under the lock: takes a place, or waits for one, and the steps after it as far as they need no
 * waiting. OK: out->answer is there. PENDING: the chain of steps goes on and ends in the job;
 * *placed: the caller calls making_go when it has given the lock. Else the problem says why,
 * nothing was taken, and the making is still the caller's. */
enum status making_start(struct making *making, struct alloc_made *out, bool *placed);
void making_go(struct making *making);

#endif
