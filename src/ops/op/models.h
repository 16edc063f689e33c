/*
 * models: what the rows about models say for each other. Private to this room.
 */
#ifndef OPS_OP_MODELS_H
#define OPS_OP_MODELS_H

#include "base/id.h"
#include "ops/op.h"
#include "service/model.h"

/* What is said in place of a model: longer than a name can be, so that a text which is too long is
 * not taken for the name that it begins with. */
#define OP_MODELS_ID (MODEL_NAME + 1)
#define OP_MODELS_ID_FIELD(params_type, member)                                                    \
  {                                                                                                \
    .name = "modelId", .type = READER_TEXT, .offset = offsetof(params_type, member),               \
    .size = OP_MODELS_ID, .required = true, .doc = "which, by its id or its name"                  \
  }
#define OP_MODELS_KEEP_ALIVE(params_type, member)                                                  \
  {                                                                                                \
    .name = "keepAliveSeconds", .type = READER_UINT, .offset = offsetof(params_type, member),      \
    .max = OP_MODELS_YEAR, .doc = "idle time after which it may be parked; 0: none"                \
  }
#define OP_MODELS_YEAR 31536000

void op_models_write_estimate(struct writer *w, const struct estimate *estimate);
/* As an object; `key` NULL: an array's element. */
void op_models_write(struct writer *w, const char *key, const struct model_view *model);
/* Who would go for something: an array's element. */
void op_models_write_victim(struct writer *w, const struct model_victim *victim);
/* What was said in place of a model, as the service takes it. MODEL_NOT_FOUND: it can be none. */
enum status op_models_name(const char *said, char out[MODEL_NAME], struct problem *problem);
enum status op_models_look(struct ops_call *call, uint64_t id, struct model_view *out,
                           struct problem *problem);

#endif
