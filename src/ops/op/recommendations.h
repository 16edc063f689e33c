/*
 * recommendations: what could be done for memory, each with a request that does it and can be sent
 * as it stands. Private to this room.
 */
#ifndef OPS_OP_RECOMMENDATIONS_H
#define OPS_OP_RECOMMENDATIONS_H

#include "ops/op.h"
#include "service/view.h"

/* As an array; the daemon's own, from the figures of the host, then its workers'.
 * reclaimable_bytes: of models. */
void op_recommendations_write(struct ops_call *call, struct writer *w, const struct view_host *host,
                              uint64_t reclaimable_bytes);

#endif
