/*
 * job_record: what the ledger keeps of a listed job, so that it can be asked for after a restart.
 * Private to this room; under the state lock.
 *
 * The results of a defragmentation and of a clear are not kept, nor the words of an error beyond
 * its status.
 */
#ifndef SERVICE_JOB_RECORD_H
#define SERVICE_JOB_RECORD_H

#include "service/job.h"

/* What the record says beside the view. */
struct job_record {
  uint64_t key[2];         /* hash of the idempotency key; both 0: none */
  uint64_t source, target; /* of a transfer: ids of its devices' records */
  uint32_t key_args, domain;
  uint32_t slot; /* 0: there is no record */
};

/* INSUFFICIENT_MEMORY: no room in the ledger. */
enum status job_record_put(struct service *s, struct job_record *record,
                           const struct job_view *view);
/* The next version, or, where there is no room for it, no record any more: what it said would be
 * wrong. A view that is not finished but completed_at says how it ends once the target allocation
 * is where it has to be: a promise, made right before that is. */
void job_record_replace(struct service *s, struct job_record *record, const struct job_view *view);
void job_record_drop(struct service *s, struct job_record *record);
/* What an earlier daemon left in `slot`; the devices' names are the caller's to fill in. False:
 * nothing that makes sense. */
bool job_record_read(const struct service *s, uint32_t slot, struct job_record *record,
                     struct job_view *view);
/* One that was under way then: completed as promised, or failed with DAEMON_RESTARTED. After the
 * allocations were restored. */
void job_record_settle(struct service *s, struct job_record *record, struct job_view *view);
/* On average, from start to end. 0: it did not run, or nothing was done. */
uint64_t job_record_rate(const struct job_view *view);

#endif
