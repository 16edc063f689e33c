/*
 * transfer: routes 15 and 16, the list, and cancel. With `wait` the answer is the final state,
 * whatever it is; a refusal before the start is an error as everywhere.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "ops/op.h"
#include "ops/reply.h"
#include "ops/wait.h"
#include "service/work.h"

#define NOT_SAID UINT64_MAX /* an id or number that the request did not name */

struct transfer {
  struct work_transfer params;
  uint64_t allocation, offset, size;
  struct wait_said said;
};

/* ---- what a transfer looks like ---- */

static void write_checksum(struct writer *w, bool known, uint64_t checksum) {
  char text[32];
  snprintf(text, sizeof text, "xxh3-64:%016" PRIx64, checksum);
  writer_text(w, "checksum", known ? text : NULL);
}

static void write_progress(struct writer *w, const struct job_view *view) {
  writer_text(w, "status", job_states[view->state]);
  writer_hundredths(w, "progressPercent", op_jobs_percent(view));
  writer_uint(w, "sizeBytes", view->result.transfer.size_bytes);
  writer_uint(w, "transferredBytes", view->bytes_done);
  uint64_t rate = view->bytes_per_second;
  if (rate)
    writer_uint(w, "bytesPerSecond", rate);
  else
    writer_null(w, "bytesPerSecond");
  bool running = view->state == JOB_RUNNING && rate;
  uint64_t left = view->bytes_total - view->bytes_done;
  uint64_t needed = running ? (uint64_t)((unsigned __int128)left * CLOCK_SECOND / rate) : 0;
  writer_time(w, "estimatedCompletion", running ? clock_real() + needed : 0);
}

static void write_effect(struct writer *w, const char *key, const struct job_transfer *transfer,
                         uint32_t count) {
  if (transfer->effects_known)
    writer_uint(w, key, count);
  else
    writer_null(w, key);
}

static void write_outcome(struct writer *w, const struct job_view *view) {
  const struct job_transfer *transfer = &view->result.transfer;
  if (transfer->verified_known)
    writer_bool(w, "verified", transfer->verified);
  else
    writer_null(w, "verified");
  write_checksum(w, transfer->checksum_known, transfer->checksum);
  writer_time(w, "createdAt", view->created_at);
  writer_time(w, "startedAt", view->started_at);
  writer_time(w, "completedAt", view->completed_at);
  write_effect(w, "requestsWaited", transfer, transfer->waited);
  write_effect(w, "modelsEvicted", transfer, transfer->evicted);
  bool failed = view->state == JOB_FAILED || view->state == JOB_CANCELLED;
  writer_text(w, "errorCode", failed ? status_code(view->problem.status) : NULL);
  writer_text(w, "errorMessage", failed ? view->problem.text : NULL);
}

void op_transfer_write(struct writer *w, const struct job_view *view) {
  const struct job_transfer *transfer = &view->result.transfer;
  writer_id(w, "transferId", 't', view->id);
  writer_text(w, "sourceDeviceId", transfer->source_device);
  writer_text(w, "targetDeviceId", transfer->target_device);
  writer_id(w, "allocationId", 'a', transfer->allocation);
  writer_id(w, "targetAllocationId", 'a', transfer->target_allocation);
  if (transfer->model) {
    writer_id(w, "modelId", ID_MODEL, transfer->model);
    writer_id(w, "targetModelId", ID_MODEL, transfer->target_model);
  }
  writer_text(w, "mode", transfer->move ? "move" : "copy");
  writer_text(w, "path", transfer->path_known ? device_path_name(transfer->path) : NULL);
  write_progress(w, view);
  write_outcome(w, view);
}

static void encode(struct ops_call *call, const struct job_view *view) {
  struct writer w;
  reply_begin(call, &w);
  op_transfer_write(&w, view);
  reply_end(call, &w);
}

/* ---- start ---- */

/* Negative: not known. */
static void write_seconds(struct writer *w, const char *key, double seconds) {
  if (seconds < 0)
    writer_null(w, key);
  else
    writer_double(w, key, seconds);
}

static void write_models(struct writer *w, const struct work_impact *impact) {
  writer_array(w, "models");
  if (impact->of_model) {
    writer_object(w, NULL);
    writer_id(w, "modelId", ID_MODEL, impact->model.id);
    writer_text(w, "name", impact->model.name);
    writer_bool(w, "busy", impact->model.busy);
    write_seconds(w, "expectedResumeSecondsBefore", impact->model.resume_before);
    write_seconds(w, "expectedResumeSecondsAfter", impact->model.resume_after);
    writer_end(w);
  }
  writer_end(w);
}

static enum ops_progress answer_impact(struct ops_call *call, const struct work_impact *impact) {
  struct writer w;
  reply_begin(call, &w);
  writer_object(&w, "impact");
  writer_bool(&w, "wouldFit", impact->would_fit);
  writer_array(&w, "wouldEvict");
  writer_end(&w);
  write_seconds(&w, "expectedSeconds", impact->expected_seconds);
  writer_uint(&w, "targetAvailableBytesAfter", impact->target_available_after);
  writer_text(&w, "targetPressureAfter", pressure_name(impact->target_pressure_after));
  writer_text(&w, "sourcePressureAfter", pressure_name(impact->source_pressure_after));
  writer_uint(&w, "attachments", impact->attachments);
  write_models(&w, impact);
  writer_end(&w);
  return reply_end(call, &w);
}

/* An id that is none names nothing, and must not be taken for "no id was said". */
static void settle(struct transfer *transfer) {
  struct work_transfer *params = &transfer->params;
  params->nobody = !transfer->allocation;
  params->allocation = transfer->allocation == NOT_SAID ? 0 : transfer->allocation;
  params->part = transfer->offset != NOT_SAID || transfer->size != NOT_SAID;
  params->offset_bytes = transfer->offset == NOT_SAID ? 0 : transfer->offset;
  params->size_bytes = transfer->size == NOT_SAID ? 0 : transfer->size;
}

static enum ops_progress run_start(struct ops_call *call, void *arg) {
  struct transfer *transfer = arg;
  struct work_started started;
  struct problem problem;
  settle(transfer);
  if (work_transfer_start(ops_service(call->ops), &call->caller, &transfer->params, &started,
                          &problem))
    return reply_fail(call, &problem);
  if (transfer->params.dry_run)
    return answer_impact(call, &started.impact);
  return wait_said(call, started.job, &transfer->said, encode);
}

static void set_defaults(void *params) {
  struct transfer *transfer = params;
  transfer->allocation = transfer->offset = transfer->size = NOT_SAID;
  transfer->params.verify = true;
  transfer->params.priority = VIEW_PRIORITY_NORMAL;
  transfer->said.timeout = WAIT_DEFAULT;
}

static const char *const modes[] = {"copy", "move", NULL};

#define AT(member) offsetof(struct transfer, member)
#define DEVICE(member, field, sentence)                                                            \
  {                                                                                                \
    .name = (field), .type = READER_TEXT, .offset = AT(params.member),                             \
    .size = sizeof(((struct transfer *)0)->params.member), .required = true, .doc = (sentence)     \
  }

static const struct reader_field start_fields[] = {
    OP_TIMEOUT(struct transfer),
    DEVICE(source, "sourceDeviceId", "where the bytes are"),
    DEVICE(target, "targetDeviceId", "where they shall be"),
    {.name = "allocationId",
     .type = READER_ID,
     .offset = AT(allocation),
     .prefix = 'a',
     .doc = "whose bytes; without it sizeBytes asks for a measured trial"},
    {.name = "modelId",
     .type = READER_TEXT,
     .offset = AT(params.model),
     .size = sizeof(((struct transfer *)0)->params.model),
     .doc = "id or name: a whole model in place of an allocation"},
    {.name = "offsetBytes",
     .type = READER_UINT,
     .offset = AT(offset),
     .doc = "part of it, from here (copy only)"},
    {.name = "sizeBytes",
     .type = READER_UINT,
     .offset = AT(size),
     .min = 1,
     .max = UINT64_C(1) << 62,
     .doc = "part of it, so much (copy only)"},
    {.name = "mode",
     .type = READER_WORD,
     .offset = AT(params.mode),
     .words = modes,
     .otherwise = "copy",
     .doc = "a new one there, or the same one there"},
    OP_BOOL(struct transfer, params.verify, "verify", "true", "read both ends and compare"),
    {.name = "priority",
     .type = READER_WORD,
     .offset = AT(params.priority),
     .words = view_priorities,
     .otherwise = "normal",
     .doc = "of the new allocation"},
    OP_BOOL(struct transfer, params.dry_run, "dryRun", "false", "only say what it would do"),
    OP_WAIT(struct transfer, "false"),
};

const struct ops_row op_transfer_start = {.action = "memory.transfer",
                                          .method = OPS_POST,
                                          .path = "/api/memory/transfer",
                                          .role = CALLER_WRITE,
                                          .envelope = true,
                                          .starts = true,
                                          .fields = start_fields,
                                          .field_count = OP_COUNT(start_fields),
                                          .query_count = 1,
                                          .params_size = sizeof(struct transfer),
                                          .summary = "Move bytes between devices",
                                          .answer = "Transfer",
                                          .schema = "Transfer",
                                          .dry_schema = "TransferTrial",
                                          .started_schema = "StartedTransfer",
                                          .defaults = set_defaults,
                                          .handler = run_start};

/* ---- get, cancel ---- */

struct one {
  uint64_t id;
};

static enum status find(struct ops_call *call, uint64_t id, struct job **job,
                        struct problem *problem) {
  if (id && !job_find(ops_service(call->ops), id, true, job))
    return STATUS_OK;
  char text[ID_SIZE] = "of that id";
  problem_set(problem, STATUS_TRANSFER_NOT_FOUND, "no transfer %s",
              id ? id_format('t', id, text) : text);
  if (id)
    snprintf(problem->subject, sizeof problem->subject, "%s", text);
  return STATUS_TRANSFER_NOT_FOUND;
}

static enum ops_progress run_get(struct ops_call *call, void *params) {
  struct problem problem;
  struct job *job;
  if (find(call, ((const struct one *)params)->id, &job, &problem))
    return reply_fail(call, &problem);
  return op_jobs_look(call, job, encode);
}

static enum ops_progress run_cancel(struct ops_call *call, void *params) {
  struct problem problem;
  struct job *job;
  if (find(call, ((const struct one *)params)->id, &job, &problem))
    return reply_fail(call, &problem);
  return op_jobs_end(call, job, encode);
}

static const struct reader_field one_fields[] = {
    {.name = "transferId",
     .type = READER_ID,
     .offset = offsetof(struct one, id),
     .prefix = 't',
     .required = true,
     .doc = "which"},
};

const struct ops_row op_transfer_get = {.action = "memory.get_transfer",
                                        .method = OPS_GET,
                                        .path = "/api/memory/transfer/{transferId}",
                                        .role = CALLER_READ,
                                        .envelope = true,
                                        .fields = one_fields,
                                        .field_count = 1,
                                        .path_count = 1,
                                        .params_size = sizeof(struct one),
                                        .summary = "The state of a transfer",
                                        .answer = "Transfer",
                                        .schema = "Transfer",
                                        .handler = run_get};

const struct ops_row op_transfer_cancel = {.action = "memory.cancel_transfer",
                                           .method = OPS_DELETE,
                                           .path = "/api/memory/transfer/{transferId}",
                                           .role = CALLER_WRITE,
                                           .envelope = true,
                                           .fields = one_fields,
                                           .field_count = 1,
                                           .path_count = 1,
                                           .params_size = sizeof(struct one),
                                           .summary = "Cancel a transfer",
                                           .answer = "Transfer",
                                           .schema = "Transfer",
                                           .handler = run_cancel};

/* ---- list ---- */

struct list {
  uint64_t limit, cursor;
  int order;
};

static void list_defaults(void *params) {
  *(struct list *)params = (struct list){100, OP_START, 0};
}

static void write_listed(struct ops_call *call, struct writer *w, const struct job_view *view) {
  (void)call;
  op_transfer_write(w, view);
}

static enum ops_progress run_list(struct ops_call *call, void *params) {
  static const struct op_jobs_words words = {"transfers", 't', write_listed};
  const struct list *list = params;
  struct job_list asked = {.kind = JOB_TRANSFER,
                           .state = JOB_ANY,
                           .newest_first = list->order == OP_DESCENDING,
                           .cursor = list->cursor,
                           .max = (uint32_t)list->limit};
  return op_jobs_page(call, &asked, &words);
}

static const struct reader_field list_fields[] = {
    OP_LIMIT(struct list, limit, "how many at most"),
    OP_CURSOR(struct list, cursor, 't'),
    OP_ORDER(struct list, order, "asc", "oldest or newest first"),
};

const struct ops_row op_transfer_list = {.action = "memory.list_transfers",
                                         .method = OPS_GET,
                                         .path = "/api/memory/transfers",
                                         .role = CALLER_READ,
                                         .envelope = true,
                                         .fields = list_fields,
                                         .field_count = OP_COUNT(list_fields),
                                         .query_count = OP_COUNT(list_fields),
                                         .params_size = sizeof(struct list),
                                         .summary = "Transfers of the last hour",
                                         .answer = "Transfers",
                                         .schema = "TransferPage",
                                         .defaults = list_defaults,
                                         .handler = run_list};
