/*
 * recorder: what the history hears of the service, and how it is asked. Private to this room.
 */
#ifndef SERVICE_RECORDER_H
#define SERVICE_RECORDER_H

#include "history/history.h"
#include "service/job.h"
#include "service/state.h"

/* How the device is now. Under the state lock, once a second, before the second's counters go. */
void recorder_sample(struct service *s, uint32_t index, const struct state_sample *now);
/* events_record_to's: what is rare enough to be kept. */
void recorder_event(void *service, const struct events_record *record);
/* A transfer that ended, before job_finish. */
void recorder_transfer(struct service *s, struct job *job, const struct events_record *event);
/* Runs ask(history, arg) on the history's thread. PENDING: *job ends when it has run. OK: there is
 * nothing to ask, or no memory for it. */
enum status recorder_ask(struct service *s, void (*ask)(struct history *history, void *arg),
                         void *arg, struct job **job);

#endif
