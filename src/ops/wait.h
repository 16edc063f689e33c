/*
 * wait: calls whose answer comes later. Nobody blocks: the call is left with a job, and whichever
 * thread finishes that job (or the decision thread, when the time is over) encodes the answer and
 * calls call->done. Hanging up cancels nothing that is listed (ops_abandon).
 */
#ifndef OPS_WAIT_H
#define OPS_WAIT_H

#include "ops/ops.h"

#define WAIT_DEFAULT 60 /* seconds that `wait` holds an answer; `timeout` changes it */
#define WAIT_MAX 600

/* What the request said; the fields `wait` and `timeout`. */
struct wait_said {
  bool wait;
  uint64_t timeout; /* seconds */
};

typedef void wait_encode_fn(struct ops_call *call, const struct job_view *view);

/* Both take the caller's reference to the job. `encode` sees the finished job, here or later. */
enum ops_progress wait_finished(struct ops_call *call, struct job *job, wait_encode_fn *encode);
/* The same within the time that was said; without `wait`, and when it is over: 202 with the job. */
enum ops_progress wait_said(struct ops_call *call, struct job *job, const struct wait_said *said,
                            wait_encode_fn *encode);
/* False: the driver's figures are being read and the handler runs again when they are; it must
 * return OPS_LATER and not touch the call. */
bool wait_fresh(struct ops_call *call, bool refresh);
/* The same for any job; takes the reference. True: it is over already. */
bool wait_job(struct ops_call *call, struct job *job);
/* The same for what workers say of themselves. */
bool wait_workers(struct ops_call *call);

#endif
