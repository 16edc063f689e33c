/*
 * promise: what workers said they could free, beside what the device then got back. Private to this
 * room; under the state lock.
 */
#ifndef SERVICE_PROMISE_H
#define SERVICE_PROMISE_H

#include "base/problem.h"
#include "service/job.h"
#include "service/view.h"

/* Newer ones count more: what was there is halved by each. */
struct promise {
  char worker[40]; /* "": none */
  uint64_t promised_bytes, freed_bytes;
  bool broken; /* the last of them: less came than three quarters. It is asked last from then on */
};
/* Zeroed before the first; of VIEW_WORKERS workers, the oldest is forgotten first. */
struct promise_book {
  struct promise rows[VIEW_WORKERS];
  uint32_t next;
};

/* True: it broke its word with this one. */
bool promise_note(struct promise_book *book, const char *worker, uint64_t promised_bytes,
                  uint64_t freed_bytes);
/* Zeroed but for the name: it was never asked. */
struct promise promise_of(const struct promise_book *book, const char *worker);
/* What is to be expected of its next promise. */
uint64_t promise_scale(const struct promise *promise, uint64_t bytes);

/* Adds to a refusal for want of memory who did not give what he had promised, if anybody. */
void promise_blame(const struct job_broken *broken, struct problem *problem);

#endif
