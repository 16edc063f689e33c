/*
 * defragment: routes 13 and 14. A dry run answers the same fields, without a job.
 */
#include "base/clock.h"
#include "ops/op.h"
#include "ops/reply.h"
#include "ops/wait.h"
#include "service/work.h"

struct defragment {
  struct work_defragment params; /* first: its device is the path's */
  struct wait_said said;
};

static void write_fragmentation(struct writer *w, const struct job_defrag_device *d) {
  writer_hundredths(w, "fragmentationBefore", d->fragmentation_before);
  writer_hundredths(w, "fragmentationAfter", d->fragmentation_after);
  writer_double(w, "fragmentationReduced",
                ((double)d->fragmentation_before - (double)d->fragmentation_after) / 100);
  writer_uint(w, "largestFreeBytesBefore", d->largest_before);
  writer_uint(w, "largestFreeBytesAfter", d->largest_after);
}

static void write_moved(struct writer *w, const struct job_defrag_device *d) {
  writer_uint(w, "defragmentedBytes", d->moved_bytes);
  writer_uint(w, "allocationsMoved", d->allocations_moved);
  writer_uint(w, "segmentsReleased", d->segments_released);
  writer_uint(w, "releasedBytes", d->released_bytes);
  write_fragmentation(w, d);
}

static void write_result(struct writer *w, const struct job_defrag *result, uint64_t ns) {
  write_moved(w, &result->total);
  writer_ms(w, "defragmentationTimeMs", ns);
  writer_array(w, "devices");
  for (uint32_t i = 0; i < result->device_count; i++) {
    writer_object(w, NULL);
    writer_text(w, "deviceId", result->devices[i].device_id);
    write_moved(w, &result->devices[i]);
    writer_end(w);
  }
  writer_end(w);
}

void op_defragment_write(struct writer *w, const struct job_view *view) {
  writer_id(w, "jobId", 'j', view->id);
  write_result(w, &view->result.defrag, view->completed_at - view->created_at);
}

static void encode(struct ops_call *call, const struct job_view *view) {
  struct writer w;
  if (reply_failed_job(call, view))
    return;
  reply_begin(call, &w);
  op_defragment_write(&w, view);
  reply_end(call, &w);
}

static enum ops_progress answer_dry(struct ops_call *call, const struct job_defrag *plan) {
  struct writer w;
  reply_begin(call, &w);
  writer_null(&w, "jobId");
  write_result(&w, plan, clock_now() - call->started_ns);
  return reply_end(call, &w);
}

static enum ops_progress run(struct ops_call *call, void *params) {
  struct defragment *defragment = params;
  struct work_started started;
  struct problem problem;
  defragment->params.memory = op_memory(defragment->params.memory);
  if (work_defragment_start(ops_service(call->ops), &call->caller, &defragment->params, &started,
                            &problem))
    return reply_fail(call, &problem);
  if (defragment->params.dry_run)
    return answer_dry(call, &started.plan);
  return wait_said(call, started.job, &defragment->said, encode);
}

static void set_defaults(void *params) {
  struct defragment *defragment = params;
  defragment->params.strategy = DEFRAG_BALANCED;
  defragment->params.max_time_seconds = 300;
  defragment->said = (struct wait_said){true, WAIT_DEFAULT};
}

static const char *const strategies[] = {"quick", "balanced", "thorough", NULL};

static const struct reader_field fields[] = {
    {.name = "deviceId",
     .type = READER_TEXT,
     .offset = offsetof(struct defragment, params.device),
     .size = sizeof(((struct defragment *)0)->params.device),
     .doc = "device id, UUID or PCI address"},
    OP_TIMEOUT(struct defragment),
    {.name = "strategy",
     .type = READER_WORD,
     .offset = offsetof(struct defragment, params.strategy),
     .words = strategies,
     .otherwise = "balanced",
     .doc = "slabs under a quarter full; until under 10 %; or all that can be emptied"},
    {.name = "maxTimeSeconds",
     .type = READER_UINT,
     .offset = offsetof(struct defragment, params.max_time_seconds),
     .min = 1,
     .max = 86400,
     .otherwise = "300",
     .doc = "when to stop with what is done by then"},
    OP_MEMORY(struct defragment, params.memory, op_allocate_memories_all, "all"),
    OP_BOOL(struct defragment, params.dry_run, "dryRun", "false", "only plan"),
    OP_WAIT(struct defragment, "true"),
};

const struct ops_row op_defragment_all = {
    .action = "memory.defragment",
    .method = OPS_POST,
    .path = "/api/memory/operations/defragment",
    .role = CALLER_WRITE,
    .envelope = true,
    .starts = true,
    .fields = fields + 1,
    .field_count = OP_COUNT(fields) - 1,
    .query_count = 1,
    .params_size = sizeof(struct defragment),
    .summary = "Move blocks together and give segments back, on all devices",
    .answer = "Defragmented",
    .schema = "Defragmented",
    .defaults = set_defaults,
    .handler = run};

const struct ops_row op_defragment_device = {
    .action = "memory.defragment",
    .method = OPS_POST,
    .path = "/api/memory/operations/defragment/{idDevice}",
    .role = CALLER_WRITE,
    .envelope = true,
    .starts = true,
    .fields = fields,
    .field_count = OP_COUNT(fields),
    .path_count = 1,
    .query_count = 1,
    .params_size = sizeof(struct defragment),
    .summary = "Move blocks together and give segments back, on one device",
    .answer = "Defragmented",
    .schema = "Defragmented",
    .defaults = set_defaults,
    .handler = run};
