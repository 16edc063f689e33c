/*
 * reply: the envelopes. Over HTTP the six members of contract 1, on the socket the wire's form
 * (contract 5), or both where a socket client asked for it. A call is answered exactly once.
 */
#ifndef OPS_REPLY_H
#define OPS_REPLY_H

#include "ops/ops.h"

/* Starts a success: the writer then stands inside `data`. The status is call->http_status, 200 when
 * that is 0. */
void reply_begin(struct ops_call *call, struct writer *w);
/* The answer takes a share with it, at most OPS_SHARES; `"fds"` then says how many. Before
 * reply_end.
 */
void reply_share(struct ops_call *call, struct share *share);
/* Closes those that it has. */
void reply_drop_shares(struct ops_call *call);
/* Ends it. What does not fit into call->out becomes an INTERNAL_ERROR. Always OPS_DONE. */
enum ops_progress reply_end(struct ops_call *call, struct writer *w);
/* An error in place of whatever call->out holds, without shares. Always OPS_DONE. */
enum ops_progress reply_fail(struct ops_call *call, const struct problem *problem);
/* True when the job did not end well; then the call is answered with its problem. */
bool reply_failed_job(struct ops_call *call, const struct job_view *view);

#endif
