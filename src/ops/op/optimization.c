/*
 * optimization: advice, and the doing of the best of it. A dry run answers the same fields, without
 * a job.
 */
#include "ops/op/recommendations.h"
#include "ops/reply.h"
#include "ops/wait.h"
#include "service/work.h"

/* ---- advice ---- */

static enum ops_progress run_list(struct ops_call *call, void *params) {
  struct writer w;
  (void)params;
  if (!wait_workers(call) || !wait_fresh(call, false))
    return OPS_LATER;
  reply_begin(call, &w);
  op_recommendations_write(call, &w);
  return reply_end(call, &w);
}

const struct ops_row op_optimization_list = {
    .action = "memory.get_optimization",
    .method = OPS_GET,
    .path = "/api/memory/optimization",
    .role = CALLER_READ,
    .envelope = true,
    .summary = "What could be done for memory, each with the request that does it",
    .answer = "Recommendations",
    .schema = "Recommendations",
    .handler = run_list};

/* ---- doing it ---- */

struct optimize {
  struct work_optimize params;
  struct wait_said said;
};

enum { OPTIMIZE_TIMEOUT, OPTIMIZE_TARGET }; /* places in the table of fields */

static void write_result(struct writer *w, const struct job_apply *result) {
  writer_array(w, "applied");
  for (uint32_t i = 0; i < result->count; i++) {
    const struct job_applied *row = &result->applied[i];
    char id[OP_RECOMMENDATIONS_ID];
    op_recommendations_id(id, row->kind, row->device_id);
    writer_object(w, NULL);
    writer_text(w, "id", id);
    writer_text(w, "deviceId", row->device_id);
    writer_uint(w, "expectedBytes", row->expected_bytes);
    writer_uint(w, "freedBytes", row->freed_bytes);
    writer_end(w);
  }
  writer_end(w);
  writer_uint(w, "freedBytes", result->freed_bytes);
}

void op_optimization_write(struct writer *w, const struct job_view *view) {
  writer_id(w, "jobId", 'j', view->id);
  write_result(w, &view->result.apply);
}

static void encode(struct ops_call *call, const struct job_view *view) {
  struct writer w;
  if (reply_failed_job(call, view))
    return;
  reply_begin(call, &w);
  op_optimization_write(&w, view);
  reply_end(call, &w);
}

static enum ops_progress answer_dry(struct ops_call *call, const struct job_apply *plan) {
  struct writer w;
  reply_begin(call, &w);
  writer_null(&w, "jobId");
  write_result(&w, plan);
  return reply_end(call, &w);
}

static enum ops_progress run(struct ops_call *call, void *arg) {
  struct optimize *optimize = arg;
  struct work_optimized out;
  struct problem problem;
  optimize->params.has_target = call->said >> OPTIMIZE_TARGET & 1;
  if (work_optimize_start(ops_service(call->ops), &call->caller, &optimize->params, &out, &problem))
    return reply_fail(call, &problem);
  if (optimize->params.dry_run)
    return answer_dry(call, &out.plan);
  return wait_said(call, out.job, &optimize->said, encode);
}

static void set_defaults(void *params) {
  ((struct optimize *)params)->said = (struct wait_said){true, WAIT_DEFAULT};
}

#define AT(member) offsetof(struct optimize, member)

static const struct reader_field fields[] = {
    [OPTIMIZE_TIMEOUT] = OP_TIMEOUT(struct optimize),
    [OPTIMIZE_TARGET] = {.name = "targetPercent",
                         .type = READER_UINT,
                         .offset = AT(params.target_percent),
                         .max = 100,
                         .doc = "stop when no more of each device is used"},
    {.name = "minBytesToFree",
     .type = READER_UINT,
     .offset = AT(params.min_bytes),
     .doc = "stop when so much came back; with a target, when both hold"},
    {.name = "deviceId",
     .type = READER_TEXT,
     .offset = AT(params.device),
     .size = sizeof(((struct optimize *)0)->params.device),
     .doc = "device id, UUID or PCI address; else all of them"},
    OP_BOOL(struct optimize, params.dry_run, "dryRun", "false", "only say what would be done"),
    OP_WAIT(struct optimize, "true"),
};

const struct ops_row op_optimization_apply = {
    .action = "memory.optimize",
    .method = OPS_POST,
    .path = "/api/memory/operations/optimize",
    .role = CALLER_WRITE,
    .envelope = true,
    .starts = true,
    .fields = fields,
    .field_count = OP_COUNT(fields),
    .query_count = 1,
    .params_size = sizeof(struct optimize),
    .summary = "Do the best of the recommendations, one after another, until a target is met",
    .answer = "Applied",
    .schema = "Applied",
    .defaults = set_defaults,
    .handler = run};
