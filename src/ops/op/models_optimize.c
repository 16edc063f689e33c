/*
 * models_optimize: make models give memory back until a target is met. What is not done, because
 * nothing has to be or because it is a trial, is answered at once, in the same shape.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "model/policy_preset.h"
#include "ops/op/models.h"
#include "ops/reply.h"
#include "ops/wait.h"
#include "service/report.h"

#define EXCLUDE_MAX 1024 /* names in one request */

struct optimize {
  struct model_optimize params;
  int64_t max_models;
  struct reader_value exclude;
  struct wait_said said;
};

enum { OPTIMIZE_TIMEOUT, OPTIMIZE_TARGET }; /* places in the table of fields */

/* Of model/policy_preset, by the same index. */
static const char *const strategies[] = {
    "fifo",         "lru",      "lfu",        "cost",  "priority",
    "conservative", "balanced", "aggressive", "smart", NULL};

static void write_ids(struct writer *w, const struct job_optimize *result,
                      enum model_residency to) {
  writer_array(w, to == MODEL_IN_RAM ? "modelsParked" : "modelsUnloaded");
  for (uint32_t i = 0; i < result->count; i++)
    if (result->victims[i].to == (int)to)
      writer_id(w, NULL, ID_MODEL, result->victims[i].model);
  writer_end(w);
}

static void write_result(struct writer *w, const struct job_optimize *result) {
  writer_bool(w, "triggered", result->triggered);
  writer_text_or_null(w, "reason", result->reason);
  writer_text(w, "strategy", strategies[result->strategy]);
  writer_uint(w, "freedBytes", result->freed_bytes);
  write_ids(w, result, MODEL_ON_DISK);
  write_ids(w, result, MODEL_IN_RAM);
  writer_hundredths(w, "utilizationBefore", result->utilization_before);
  writer_hundredths(w, "utilizationAfter", result->utilization_after);
  if (result->impact_unknown)
    writer_null(w, "performanceImpactPercent");
  else
    writer_hundredths(w, "performanceImpactPercent", result->impact);
  writer_uint(w, "timeMs", result->time_ms);
}

void op_models_optimize_write(struct writer *w, const struct job_view *view) {
  write_result(w, &view->result.optimize);
}

static void encode(struct ops_call *call, const struct job_view *view) {
  struct writer w;
  if (reply_failed_job(call, view))
    return;
  reply_begin(call, &w);
  op_models_optimize_write(&w, view);
  reply_end(call, &w);
}

/* ---- what was not done ---- */

static void measure(struct ops_call *call, const char *device, struct view_figures *out) {
  struct view_device one;
  struct view_host host;
  struct problem ignored;
  if (*device && !report_device(ops_service(call->ops), device, &one, &ignored)) {
    *out = one.figures;
    return;
  }
  report_host(ops_service(call->ops), &host);
  *out = host.figures;
}

static uint32_t utilization_without(const struct view_figures *figures, uint64_t bytes) {
  uint64_t used = figures->used_bytes > bytes ? figures->used_bytes - bytes : 0;
  return figures->total_bytes ? (uint32_t)((unsigned __int128)used * 10000 / figures->total_bytes)
                              : 0;
}

/* Where something would go, `plan` names it. */
static enum ops_progress answer_plan(struct ops_call *call, const struct optimize *optimize,
                                     const struct model_plan *plan) {
  struct job_optimize result = {.triggered = plan->triggered,
                                .strategy = optimize->params.strategy,
                                .freed_bytes = plan->bytes,
                                .impact = plan->impact,
                                .impact_unknown = plan->impact_unknown,
                                .count = plan->count};
  struct view_figures figures;
  struct writer w;
  measure(call, optimize->params.device, &figures);
  memcpy(result.reason, plan->reason, sizeof result.reason);
  for (uint32_t i = 0; i < plan->count; i++) {
    result.victims[i].model = plan->victims[i].id;
    result.victims[i].to = plan->victims[i].to;
  }
  result.utilization_before = figures.utilization;
  result.utilization_after =
      plan->bytes ? utilization_without(&figures, plan->bytes) : figures.utilization;
  result.time_ms = (clock_now() - call->started_ns) / CLOCK_MS;
  reply_begin(call, &w);
  write_result(&w, &result);
  return reply_end(call, &w);
}

/* ---- the request ---- */

/* Texts of the document, in an array that is the caller's to free. */
static enum status decode_exclude(struct optimize *optimize, const char ***out,
                                  struct problem *problem) {
  struct reader_value list = optimize->exclude;
  size_t count = reader_count(list);
  if (list.json && (!reader_is_array(list) || count > EXCLUDE_MAX))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "excludeModels",
                         "excludeModels is an array of at most %d ids or names", EXCLUDE_MAX);
  const char **names = calloc(count + 1, sizeof *names);
  if (!names)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  for (size_t i = 0; i < count; i++) {
    names[i] = reader_text(reader_at(list, i), NULL);
    if (names[i])
      continue;
    free(names);
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "excludeModels",
                         "excludeModels has ids or names of models only");
  }
  optimize->params.exclude = names;
  optimize->params.exclude_count = (uint32_t)count;
  *out = names;
  return STATUS_OK;
}

static void settle(const struct ops_call *call, struct optimize *optimize) {
  struct model_optimize *params = &optimize->params;
  if (!(call->said >> OPTIMIZE_TARGET & 1))
    params->target_percent = policy_preset_at((uint32_t)params->strategy)->target_percent;
  params->workers_too = true;
  params->max_models = optimize->max_models < 0 ? UINT64_MAX : (uint64_t)optimize->max_models;
}

static enum ops_progress run(struct ops_call *call, void *arg) {
  struct optimize *optimize = arg;
  struct model_optimize *params = &optimize->params;
  struct model_optimized out;
  struct problem problem;
  const char **names = NULL;
  settle(call, optimize);
  enum status status = decode_exclude(optimize, &names, &problem);
  if (!status)
    status = model_optimize_start(ops_service(call->ops), &call->caller, params, &out, &problem);
  params->exclude = NULL;
  free(names);
  if (status)
    return reply_fail(call, &problem);
  if (out.job)
    return wait_said(call, out.job, &optimize->said, encode);
  return answer_plan(call, optimize, &out.plan);
}

static void set_defaults(void *params) {
  struct optimize *optimize = params;
  optimize->params.target_percent = 70;
  optimize->params.max_time_ms = 30000;
  optimize->max_models = -1;
  optimize->said = (struct wait_said){true, WAIT_DEFAULT};
}

#define AT(member) offsetof(struct optimize, member)
#define DAY_MS 86400000

static const struct reader_field fields[] = {
    [OPTIMIZE_TIMEOUT] = OP_TIMEOUT(struct optimize),
    [OPTIMIZE_TARGET] =
        {.name = "targetPercent",
         .type = READER_UINT,
         .offset = AT(params.target_percent),
         .max = 100,
         .otherwise = "70",
         .doc = "how much may be used afterwards; 80 with conservative, 50 with aggressive"},
    {.name = "maxModels",
     .type = READER_INT,
     .offset = AT(max_models),
     .min = (uint64_t)-1,
     .max = MODEL_MAX,
     .otherwise = "-1",
     .doc = "how many may go at most; -1: any"},
    {.name = "deviceId",
     .type = READER_TEXT,
     .offset = AT(params.device),
     .size = sizeof(((struct optimize *)0)->params.device),
     .doc = "device id, UUID or PCI address; else all of them"},
    {.name = "workerId",
     .type = READER_TEXT,
     .offset = AT(params.worker),
     .size = sizeof(((struct optimize *)0)->params.worker),
     .doc = "no model goes, but this worker is asked to give memory of its own back"},
    {.name = "minBytesToFree",
     .type = READER_UINT,
     .offset = AT(params.min_bytes),
     .doc = "go on until so much came back, below the target too"},
    {.name = "strategy",
     .type = READER_WORD,
     .offset = AT(params.strategy),
     .words = strategies,
     .otherwise = "fifo",
     .doc = "in which order, or how far to go"},
    {.name = "excludeModels",
     .type = READER_RAW,
     .offset = AT(exclude),
     .doc = "ids or names of models that stay"},
    {.name = "maxTimeMs",
     .type = READER_UINT,
     .offset = AT(params.max_time_ms),
     .min = 1,
     .max = DAY_MS,
     .otherwise = "30000",
     .doc = "when to stop with what is done by then"},
    OP_BOOL(struct optimize, params.force, "force", "false", "also when it is below the target"),
    OP_BOOL(struct optimize, params.dry_run, "dryRun", "false", "only say who would go"),
    OP_WAIT(struct optimize, "true"),
};

const struct ops_row op_models_optimize_start = {
    .action = "memory.model_optimize",
    .method = OPS_POST,
    .path = "/api/memory/models/optimize",
    .role = CALLER_WRITE,
    .envelope = true,
    .starts = true,
    .fields = fields,
    .field_count = OP_COUNT(fields),
    .query_count = 1,
    .params_size = sizeof(struct optimize),
    .summary = "Make models, and then workers, give memory back until a target is met",
    .answer = "Optimized",
    .schema = "ModelsOptimized",
    .defaults = set_defaults,
    .handler = run};
