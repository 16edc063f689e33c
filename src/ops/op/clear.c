/*
 * clear: routes 11 and 12.
 */
#include "base/clock.h"
#include "ops/op.h"
#include "ops/reply.h"
#include "ops/wait.h"
#include "service/work.h"

struct clear {
  struct work_clear params; /* first: its device is the path's */
  struct wait_said said;
};

void op_clear_write(struct writer *w, const struct job_view *view) {
  const struct job_clear *result = &view->result.clear;
  writer_uint(w, "clearedBytes", result->cleared_bytes);
  writer_uint(w, "clearedAllocations", result->cleared_allocations);
  writer_ms(w, "clearTimeMs", view->completed_at - view->created_at);
  writer_array(w, "devices");
  for (uint32_t i = 0; i < result->device_count; i++) {
    writer_object(w, NULL);
    writer_text(w, "deviceId", result->devices[i].device_id);
    writer_uint(w, "clearedBytes", result->devices[i].cleared_bytes);
    writer_uint(w, "usedBytesBefore", result->devices[i].used_before);
    writer_uint(w, "usedBytesAfter", result->devices[i].used_after);
    writer_end(w);
  }
  writer_end(w);
  writer_array(w, "workers");
  for (uint32_t i = 0; i < result->worker_count; i++) {
    writer_object(w, NULL);
    writer_text(w, "workerId", result->workers[i].id);
    writer_uint(w, "clearedBytes", result->workers[i].cleared_bytes);
    writer_end(w);
  }
  writer_end(w);
}

static void encode(struct ops_call *call, const struct job_view *view) {
  struct writer w;
  if (reply_failed_job(call, view))
    return;
  reply_begin(call, &w);
  op_clear_write(&w, view);
  reply_end(call, &w);
}

static enum ops_progress run(struct ops_call *call, void *params) {
  struct clear *clear = params;
  struct work_started started;
  struct problem problem;
  clear->params.memory = op_memory(clear->params.memory);
  if (work_clear_start(ops_service(call->ops), &call->caller, &clear->params, &started, &problem))
    return reply_fail(call, &problem);
  return wait_said(call, started.job, &clear->said, encode);
}

static void set_defaults(void *params) {
  struct clear *clear = params;
  clear->params.idle_seconds = 300;
  clear->said = (struct wait_said){true, WAIT_DEFAULT};
}

static const char *const scopes[] = {"cache", "idle", "all", "lost", NULL};

static const struct reader_field fields[] = {
    {.name = "deviceId",
     .type = READER_TEXT,
     .offset = offsetof(struct clear, params.device),
     .size = sizeof(((struct clear *)0)->params.device),
     .doc = "device id, UUID or PCI address"},
    OP_TIMEOUT(struct clear),
    {.name = "scope",
     .type = READER_WORD,
     .offset = offsetof(struct clear, params.scope),
     .words = scopes,
     .otherwise = "cache",
     .doc = "empty segments, models' spare copies in RAM, workers' caches; also what is idle; "
            "all that nobody holds; or what is lost for good, also when it is protected"},
    {.name = "owner",
     .type = READER_TEXT,
     .offset = offsetof(struct clear, params.owner),
     .size = sizeof(((struct clear *)0)->params.owner),
     .doc = "only allocations of this owner, by id or name, and empty segments"},
    {.name = "idleSeconds",
     .type = READER_UINT,
     .offset = offsetof(struct clear, params.idle_seconds),
     .otherwise = "300",
     .doc = "idle: untouched for so long"},
    OP_MEMORY(struct clear, params.memory, op_allocate_memories_all, "all"),
    OP_BOOL(struct clear, params.force, "force", "false",
            "also what is attached, pinned or persistent"),
    OP_WAIT(struct clear, "true"),
};

const struct ops_row op_clear_all = {.action = "memory.clear",
                                     .method = OPS_POST,
                                     .path = "/api/memory/operations/clear",
                                     .role = CALLER_WRITE,
                                     .envelope = true,
                                     .starts = true,
                                     .fields = fields + 1,
                                     .field_count = OP_COUNT(fields) - 1,
                                     .query_count = 1,
                                     .params_size = sizeof(struct clear),
                                     .summary = "Give back what is not needed, on all devices",
                                     .answer = "Cleared",
                                     .schema = "Cleared",
                                     .defaults = set_defaults,
                                     .handler = run};

const struct ops_row op_clear_device = {.action = "memory.clear",
                                        .method = OPS_POST,
                                        .path = "/api/memory/operations/clear/{idDevice}",
                                        .role = CALLER_WRITE,
                                        .envelope = true,
                                        .starts = true,
                                        .fields = fields,
                                        .field_count = OP_COUNT(fields),
                                        .path_count = 1,
                                        .query_count = 1,
                                        .params_size = sizeof(struct clear),
                                        .summary = "Give back what is not needed, on one device",
                                        .answer = "Cleared",
                                        .schema = "Cleared",
                                        .defaults = set_defaults,
                                        .handler = run};
