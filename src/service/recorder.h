/*
 * recorder: what the history hears of the service, and how it is asked. Private to this room.
 */
#ifndef SERVICE_RECORDER_H
#define SERVICE_RECORDER_H

#include <stdatomic.h>

#include "history/history.h"
#include "service/job.h"
#include "service/state.h"

/* How the device is now. Under the state lock, once a second, before the second's counters go. */
void recorder_sample(struct service *s, uint32_t index, const struct state_sample *now);
/* events_record_to's: what is rare enough to be kept. */
void recorder_event(void *service, const struct events_record *record);
/* A transfer that ended, before job_finish. */
void recorder_transfer(struct service *s, struct job *job, const struct events_record *event);

#define RECORDER_LIMIT_S 5
#define RECORDER_WAITING 32 /* questions at a time: a disk that hangs lets them wait */

/* The first member of what is asked and answered, zeroed and malloced. Who asked holds it, and the
 * history's thread until it has answered, however late. */
struct recorder_question {
  /* Fills what the question is a member of; on the history's thread. */
  void (*ask)(struct history *history, struct recorder_question *question);
  /* The recorder's: */
  struct task task, limit;
  struct service *service;
  struct job *job;
  atomic_uint holders;
  atomic_int state;
};
/* PENDING: *job ends when it is answered, or will not be in time. HISTORY_UNAVAILABLE: too many
 * wait already. INTERNAL_ERROR: no memory. */
enum status recorder_ask(struct service *s, struct recorder_question *question, struct job **job,
                         struct problem *problem);
/* When the job ended: HISTORY_UNAVAILABLE: it was not answered, nothing of it is to be read. */
enum status recorder_answer(const struct recorder_question *question, struct problem *problem);
/* The asker has done with it. NULL is fine. */
void recorder_let_go(struct recorder_question *question);

#endif
