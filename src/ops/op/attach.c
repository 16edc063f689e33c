/*
 * attach: memory handed to a client of the socket, and taken back. The answer carries the
 * descriptor of the whole segment; where in it the allocation is, the answer says.
 */
#include <stdlib.h>

#include "ops/op/attach_model.h"
#include "ops/op/models.h"
#include "ops/reply.h"
#include "service/attach.h"

void op_attach_write(struct writer *w, const struct attach_made *made) {
  writer_text(w, "deviceId", made->device_id);
  writer_id(w, "segmentId", 's', made->segment);
  writer_uint(w, "offsetBytes", made->offset_bytes);
  writer_uint(w, "sizeBytes", made->size_bytes);
  writer_text(w, "handleType", share_kind_name(made->kind));
}

enum ops_progress op_attach_end(struct ops_call *call, struct writer *w, uint64_t allocation) {
  struct problem ignored;
  uint32_t left;
  reply_end(call, w);
  if (!call->share_count)
    attach_end(ops_service(call->ops), &call->caller, allocation, &left, &ignored);
  return OPS_DONE;
}

/* An allocation or a model. */
struct which {
  struct attach_want want;
  char model[OP_MODELS_ID];
  int copy; /* index of `copies` */
};
static const char *const copies[] = {"used", "ram", NULL};
#define NOT_SAID UINT64_MAX /* an id that is none names nothing, and is not "no id was said" */

static void which_defaults(void *params) { ((struct which *)params)->want.allocation = NOT_SAID; }

static enum status check_which(const struct which *which, struct problem *problem) {
  bool allocation = which->want.allocation != NOT_SAID;
  if (allocation && *which->model)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "modelId",
                         "allocationId or modelId, not both");
  return allocation || *which->model
             ? STATUS_OK
             : problem_field(problem, STATUS_MISSING_PARAMETER, "allocationId",
                             "allocationId is required, or modelId");
}

static enum ops_progress run_attach(struct ops_call *call, void *params) {
  const struct which *which = params;
  const struct attach_want *want = &which->want;
  struct attach_made made;
  struct problem problem;
  struct writer w;
  if (check_which(which, &problem))
    return reply_fail(call, &problem);
  if (*which->model)
    return op_attach_model(call, which->model, which->copy == 1);
  if (attach_begin(ops_service(call->ops), &call->caller, want, &made, &problem))
    return reply_fail(call, &problem);
  reply_share(call, &made.share);
  reply_begin(call, &w);
  op_attach_write(&w, &made);
  return op_attach_end(call, &w, made.allocation);
}

#define WHICH                                                                                      \
  {.name = "allocationId",                                                                         \
   .type = READER_ID,                                                                              \
   .offset = offsetof(struct which, want.allocation),                                              \
   .prefix = 'a',                                                                                  \
   .doc = "which; or"},                                                                            \
  {                                                                                                \
    .name = "modelId", .type = READER_TEXT, .offset = offsetof(struct which, model),               \
    .size = OP_MODELS_ID, .doc = "which model, by its id or its name"                              \
  }

static const struct reader_field attach_fields[] = {
    WHICH,
    OP_BOOL(struct which, want.read_only, "readOnly", "false",
            "a descriptor that cannot write; all that `share: read` gives to others, and of a "
            "model in any case"),
    {.name = "copy",
     .type = READER_WORD,
     .offset = offsetof(struct which, copy),
     .words = copies,
     .otherwise = "used",
     .doc = "of a model: the one that is used, on its card where it is there; or the one in host "
            "memory, also while the model is parked"},
};

const struct ops_row op_attach_attach = {.action = "memory.attach",
                                         .role = CALLER_WRITE,
                                         .envelope = true,
                                         .fields = attach_fields,
                                         .field_count = OP_COUNT(attach_fields),
                                         .params_size = sizeof(struct which),
                                         .summary =
                                             "Attach an allocation or a model to this connection",
                                         .answer = "Attached",
                                         .defaults = which_defaults,
                                         .handler = run_attach};

/* ---- detach ---- */

static enum ops_progress run_detach(struct ops_call *call, void *params) {
  const struct which *which = params;
  uint64_t allocation = which->want.allocation;
  uint32_t attachments;
  struct problem problem;
  struct writer w;
  if (check_which(which, &problem))
    return reply_fail(call, &problem);
  if (*which->model)
    return op_attach_model_end(call, which->model);
  if (attach_end(ops_service(call->ops), &call->caller, allocation, &attachments, &problem))
    return reply_fail(call, &problem);
  reply_begin(call, &w);
  writer_id(&w, "allocationId", 'a', allocation);
  writer_uint(&w, "attachments", attachments);
  return reply_end(call, &w);
}

static const struct reader_field detach_fields[] = {WHICH};

const struct ops_row op_attach_detach = {.action = "memory.detach",
                                         .role = CALLER_WRITE,
                                         .envelope = true,
                                         .fields = detach_fields,
                                         .field_count = OP_COUNT(detach_fields),
                                         .params_size = sizeof(struct which),
                                         .summary = "Detach an allocation or a model: one attach "
                                                    "of it by this connection ends",
                                         .answer = "Detached",
                                         .defaults = which_defaults,
                                         .handler = run_detach};

/* ---- resume ---- */

struct resume {
  struct reader_value attachments;
  bool more;
};

static const struct reader_field claim_fields[] = {
    {.name = "allocationId",
     .type = READER_ID,
     .offset = offsetof(struct attach_claim, allocation),
     .prefix = 'a',
     .required = true,
     .doc = "what is attached"},
    {.name = "segmentId",
     .type = READER_ID,
     .offset = offsetof(struct attach_claim, segment),
     .prefix = 's',
     .doc = "where it was when it was attached"},
    OP_BOOL(struct attach_claim, writable, "writable", "true", "whether it was attached to write"),
};

static enum status decode_claim(const struct ops_call *call, struct reader_value one,
                                struct attach_claim *out, struct problem *problem) {
  const struct reader_table table = {claim_fields, OP_COUNT(claim_fields),
                                     call->names == WRITER_SNAKE ? READER_SNAKE : READER_CAMEL,
                                     NULL};
  *out = (struct attach_claim){.writable = true};
  if (!reader_is_object(one))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "attachments",
                         "an attachment is an object");
  return reader_decode(one, &table, out, NULL, problem);
}

/* The caller's to free; NULL: the problem says why. */
static struct attach_claim *decode_claims(const struct ops_call *call, struct reader_value list,
                                          struct problem *problem) {
  size_t count = reader_count(list);
  if (!reader_is_array(list) || count > ATTACH_CONNECTION) {
    problem_field(problem, STATUS_INVALID_ARGUMENT, "attachments",
                  "attachments is an array of at most %d objects", ATTACH_CONNECTION);
    return NULL;
  }
  struct attach_claim *claims = calloc(count + 1, sizeof *claims);
  if (!claims)
    problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  for (size_t i = 0; claims && i < count; i++) {
    if (!decode_claim(call, reader_at(list, i), &claims[i], problem))
      continue;
    free(claims);
    claims = NULL;
  }
  return claims;
}

static void write_ids(struct writer *w, const struct attach_claim *claims, size_t count,
                      bool resumed) {
  writer_array(w, resumed ? "resumed" : "unknown");
  for (size_t i = 0; i < count; i++)
    if (claims[i].resumed == resumed)
      writer_id(w, NULL, 'a', claims[i].allocation);
  writer_end(w);
}

static enum ops_progress run_resume(struct ops_call *call, void *params) {
  const struct resume *resume = params;
  struct problem problem;
  struct writer w;
  size_t count = reader_count(resume->attachments);
  struct attach_claim *claims = decode_claims(call, resume->attachments, &problem);
  if (!claims)
    return reply_fail(call, &problem);
  attach_resume(ops_service(call->ops), &call->caller, claims, (uint32_t)count, resume->more);
  reply_begin(call, &w);
  write_ids(&w, claims, count, true);
  write_ids(&w, claims, count, false);
  free(claims);
  return reply_end(call, &w);
}

static const struct reader_field resume_fields[] = {
    {.name = "attachments",
     .type = READER_RAW,
     .offset = offsetof(struct resume, attachments),
     .required = true,
     .doc = "what this process still has attached: objects with `allocationId`, `segmentId`, "
            "`writable`"},
    OP_BOOL(struct resume, more, "more", "false",
            "another line of them follows; after the last, what was not named is detached"),
};

const struct ops_row op_attach_resume = {.action = "memory.resume",
                                         .role = CALLER_WRITE,
                                         .envelope = true,
                                         .fields = resume_fields,
                                         .field_count = OP_COUNT(resume_fields),
                                         .params_size = sizeof(struct resume),
                                         .summary =
                                             "Say what is still attached, on a new connection",
                                         .answer = "Resumed",
                                         .handler = run_resume};
