/*
 * recommendations: what could be done for memory, each with a request that does it and can be sent
 * as it stands. Private to this room.
 */
#ifndef OPS_OP_RECOMMENDATIONS_H
#define OPS_OP_RECOMMENDATIONS_H

#include "ops/op.h"

#define OP_RECOMMENDATIONS_ID 48

/* As an array; the daemon's own, then its workers'. */
void op_recommendations_write(struct ops_call *call, struct writer *w);
/* Of the daemon's own: by enum advice_kind and device, or whose quota it is about. */
void op_recommendations_id(char out[OP_RECOMMENDATIONS_ID], int kind, const char *subject);

#endif
