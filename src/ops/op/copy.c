/*
 * copy: bytes between and within live allocations: operations/copy and operations/fill.
 */
#include <inttypes.h>
#include <stdio.h>

#include "ops/op.h"
#include "ops/reply.h"
#include "ops/wait.h"
#include "service/work.h"

void op_copy_write(struct writer *w, const struct job_view *view) {
  const struct job_bytes *result = &view->result.bytes;
  char checksum[32];
  snprintf(checksum, sizeof checksum, "xxh3-64:%016" PRIx64, result->checksum);
  writer_id(w, "jobId", 'j', view->id);
  writer_uint(w, "bytes", result->bytes);
  writer_text(w, "checksum", result->checksum_known ? checksum : NULL);
  writer_ms(w, "timeMs", view->completed_at - view->created_at);
}

static void encode(struct ops_call *call, const struct job_view *view) {
  struct writer w;
  if (reply_failed_job(call, view))
    return;
  reply_begin(call, &w);
  op_copy_write(&w, view);
  reply_end(call, &w);
}

#define SIZE(params_type)                                                                          \
  {                                                                                                \
    .name = "sizeBytes", .type = READER_UINT, .offset = offsetof(params_type, params.size_bytes),  \
    .min = 1, .max = UINT64_C(1) << 62, .doc = "how much; without it, to the end"                  \
  }
#define ALLOCATION(params_type, member, field, sentence)                                           \
  {                                                                                                \
    .name = (field), .type = READER_ID, .offset = offsetof(params_type, params.member),            \
    .prefix = 'a', .required = true, .doc = (sentence)                                             \
  }
#define OFFSET(params_type, member, field)                                                         \
  {                                                                                                \
    .name = (field), .type = READER_UINT, .offset = offsetof(params_type, params.member),          \
    .otherwise = "0", .doc = "from here on"                                                        \
  }

/* ---- copy ---- */

struct copy {
  struct work_copy params;
  struct wait_said said;
};

static enum ops_progress run_copy(struct ops_call *call, void *arg) {
  const struct copy *copy = arg;
  struct work_started started;
  struct problem problem;
  if (work_copy_start(ops_service(call->ops), &call->caller, &copy->params, &started, &problem))
    return reply_fail(call, &problem);
  return wait_said(call, started.job, &copy->said, encode);
}

static void copy_defaults(void *params) {
  struct copy *copy = params;
  copy->params.verify = true;
  copy->said = (struct wait_said){true, WAIT_DEFAULT};
}

static const struct reader_field copy_fields[] = {
    OP_TIMEOUT(struct copy),
    ALLOCATION(struct copy, source, "sourceAllocationId", "whose bytes are read"),
    ALLOCATION(struct copy, target, "targetAllocationId", "whose bytes are written"),
    OFFSET(struct copy, source_offset, "sourceOffsetBytes"),
    OFFSET(struct copy, target_offset, "targetOffsetBytes"),
    SIZE(struct copy),
    OP_BOOL(struct copy, params.verify, "verify", "true", "read both ends and compare"),
    OP_WAIT(struct copy, "true"),
};

const struct ops_row op_copy_copy = {.action = "memory.copy",
                                     .method = OPS_POST,
                                     .path = "/api/memory/operations/copy",
                                     .role = CALLER_WRITE,
                                     .envelope = true,
                                     .starts = true,
                                     .fields = copy_fields,
                                     .field_count = OP_COUNT(copy_fields),
                                     .query_count = 1,
                                     .params_size = sizeof(struct copy),
                                     .summary = "Copy bytes from one allocation to another",
                                     .answer = "Copied",
                                     .schema = "BytesDone",
                                     .defaults = copy_defaults,
                                     .handler = run_copy};

/* ---- fill ---- */

struct fill {
  struct work_fill params;
  struct wait_said said;
};

static enum ops_progress run_fill(struct ops_call *call, void *arg) {
  const struct fill *fill = arg;
  struct work_started started;
  struct problem problem;
  if (work_fill_start(ops_service(call->ops), &call->caller, &fill->params, &started, &problem))
    return reply_fail(call, &problem);
  return wait_said(call, started.job, &fill->said, encode);
}

static void fill_defaults(void *params) {
  ((struct fill *)params)->said = (struct wait_said){true, WAIT_DEFAULT};
}

static const struct reader_field fill_fields[] = {
    OP_TIMEOUT(struct fill),
    ALLOCATION(struct fill, allocation, "allocationId", "whose bytes"),
    {.name = "value",
     .type = READER_UINT,
     .offset = offsetof(struct fill, params.value),
     .max = 255,
     .required = true,
     .doc = "what every byte becomes"},
    OFFSET(struct fill, offset_bytes, "offsetBytes"),
    SIZE(struct fill),
    OP_WAIT(struct fill, "true"),
};

const struct ops_row op_copy_fill = {.action = "memory.fill",
                                     .method = OPS_POST,
                                     .path = "/api/memory/operations/fill",
                                     .role = CALLER_WRITE,
                                     .envelope = true,
                                     .starts = true,
                                     .fields = fill_fields,
                                     .field_count = OP_COUNT(fill_fields),
                                     .query_count = 1,
                                     .params_size = sizeof(struct fill),
                                     .summary = "Fill bytes of an allocation",
                                     .answer = "Filled",
                                     .schema = "BytesDone",
                                     .defaults = fill_defaults,
                                     .handler = run_fill};
