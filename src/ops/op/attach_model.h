/*
 * attach_model: memory.attach and memory.detach of a model. Private to this room.
 */
#ifndef OPS_OP_ATTACH_MODEL_H
#define OPS_OP_ATTACH_MODEL_H

#include "ops/op.h"

/* `said` is its id or its name; `ram`: the copy in host memory. Both answer the call. */
enum ops_progress op_attach_model(struct ops_call *call, const char *said, bool ram);
enum ops_progress op_attach_model_end(struct ops_call *call, const char *said);

#endif
