/*
 * wait: two may end a wait, the job and the clock, on two threads. Who takes the other one back
 * (job_unwait, queue_cancel) goes on alone. Where that comes too late, because the other is on its
 * way, both pass `met`, and the second to pass goes on; so the call is answered once, and never
 * while the other still looks at it.
 *
 * The clock is set before the job is waited for: afterwards the call may be gone already.
 */
#include "ops/wait.h"

#include "base/clock.h"
#include "ops/latency.h"
#include "ops/op.h"
#include "service/coordination.h"
#include "service/report.h"
#include "service/service.h"

static void done(struct ops_call *call) {
  latency_count(call);
  call->done(call);
}

static struct queue *clock_of(const struct ops_call *call) {
  return service_decision(ops_service(call->ops));
}

/* Encodes the job as it is now. */
static void answer(struct ops_call *call, bool accepted) {
  struct job_view view;
  job_look(call->job, &view);
  job_give(call->job);
  call->job = NULL;
  if (!accepted) {
    call->encode(call, &view);
    return;
  }
  call->http_status = 202;
  op_jobs_accepted(call, &view);
}

static enum ops_progress go_on(struct ops_call *call) {
  if (call->encode) {
    answer(call, false);
    return OPS_DONE;
  }
  job_give(call->job);
  call->job = NULL;
  return call->row->handler(call, call->params);
}

static bool first_to_pass(struct ops_call *call) { return atomic_fetch_add(&call->met, 1) == 0; }

/* The job is finished: whether the call is still ours to go on with. */
static bool take_from_clock(struct ops_call *call) {
  return !call->limited || queue_cancel(clock_of(call), &call->timeout) || !first_to_pass(call);
}

static void ready(struct job_waiter *waiter) {
  struct ops_call *call = (struct ops_call *)((char *)waiter - offsetof(struct ops_call, waiter));
  if (take_from_clock(call) && go_on(call) == OPS_DONE)
    done(call);
}

static void expire(struct task *task) {
  struct ops_call *call = (struct ops_call *)((char *)task - offsetof(struct ops_call, timeout));
  bool unfinished = job_unwait(call->job, &call->waiter);
  if (!unfinished && first_to_pass(call))
    return;
  answer(call, unfinished);
  done(call);
}

static enum ops_progress wait_for(struct ops_call *call, struct job *job, uint64_t seconds) {
  call->job = job;
  call->waiter.ready = ready;
  call->limited = seconds > 0;
  atomic_init(&call->met, 0);
  if (call->limited) {
    call->timeout = (struct task){.run = expire};
    queue_post_at(clock_of(call), &call->timeout, clock_now() + seconds * CLOCK_SECOND);
  }
  if (job_wait(job, &call->waiter) || !take_from_clock(call))
    return OPS_LATER;
  return go_on(call);
}

enum ops_progress wait_finished(struct ops_call *call, struct job *job, wait_encode_fn *encode) {
  call->encode = encode;
  atomic_store(&call->held, job_keep(job));
  return wait_for(call, job, 0);
}

enum ops_progress wait_said(struct ops_call *call, struct job *job, const struct wait_said *said,
                            wait_encode_fn *encode) {
  call->encode = encode;
  if (said->wait && said->timeout) {
    call->waited = job_keep(job);
    return wait_for(call, job, said->timeout);
  }
  call->job = job;
  answer(call, true);
  return OPS_DONE;
}

/* False: the handler runs again when the job is over. */
bool wait_job(struct ops_call *call, struct job *job) {
  call->job = job;
  call->waiter.ready = ready;
  if (job_wait(job, &call->waiter))
    return false;
  job_give(job);
  call->job = NULL;
  return true;
}

bool wait_fresh(struct ops_call *call, bool refresh) {
  struct job *job;
  if (call->fresh)
    return true;
  call->fresh = true;
  return report_fresh(ops_service(call->ops), refresh, &job) != STATUS_PENDING ||
         wait_job(call, job);
}

bool wait_workers(struct ops_call *call) {
  struct job *job;
  if (call->asked)
    return true;
  call->asked = true;
  return coordination_fresh(ops_service(call->ops), &job) != STATUS_PENDING || wait_job(call, job);
}
