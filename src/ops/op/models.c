/*
 * models: what a model looks like, and the rows that need nothing but its name: list, look, change,
 * unload, park. A model is asked for by its id or by its name; a text that is neither names
 * nothing.
 */
#include "ops/op/models.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/reply.h"
#include "ops/wait.h"

/* ---- what a model looks like ---- */

static void write_known(struct writer *w, const char *key, uint64_t value) {
  if (value)
    writer_uint(w, key, value);
  else
    writer_null(w, key);
}

void op_models_write_estimate(struct writer *w, const struct estimate *estimate) {
  writer_object(w, "estimate");
  write_known(w, "weightsBytes", estimate->weights_bytes);
  write_known(w, "overheadBytes", estimate->overhead_bytes);
  writer_text(w, "source",
              estimate->measured        ? "measured"
              : estimate->weights_bytes ? "header"
                                        : NULL);
  writer_hundredths(w, "correction", estimate->correction);
  writer_end(w);
}

void op_models_write_victim(struct writer *w, const struct model_victim *victim) {
  writer_object(w, NULL);
  writer_id(w, "modelId", ID_MODEL, victim->id);
  writer_text_or_null(w, "name", victim->name);
  writer_uint(w, "bytes", victim->bytes);
  writer_text(w, "to", model_residencies[victim->to]);
  writer_end(w);
}

static void write_fingerprint(struct writer *w, uint64_t fingerprint) {
  char text[32];
  snprintf(text, sizeof text, "xxh3-64:%016" PRIx64, fingerprint);
  writer_text(w, "fingerprint", fingerprint ? text : NULL);
}

static void write_place(struct writer *w, const struct model_view *model) {
  writer_id(w, "modelId", ID_MODEL, model->id);
  writer_text(w, "name", model->name);
  writer_text_or_null(w, "path", model->path);
  writer_text(w, "format", card_format_name(model->format));
  write_fingerprint(w, model->fingerprint);
  writer_text(w, "state", model_states[model->state]);
  writer_text(w, "residency", model_residencies[model->residency]);
  writer_text(w, "deviceId", model->device_id);
  writer_text_or_null(w, "workerId", model->worker);
}

static void write_size(struct writer *w, const struct model_view *model) {
  write_known(w, "sizeBytes", model->size_bytes);
  op_models_write_estimate(w, &model->estimate);
  if (card_format_name(model->format))
    writer_uint(w, "tensors", model->tensors);
  else
    writer_null(w, "tensors");
  if (model->load_time_ns)
    writer_ms(w, "loadTimeMs", model->load_time_ns);
  else
    writer_null(w, "loadTimeMs");
  write_known(w, "loadBytesPerSecond", model->load_bytes_per_second);
}

/* How far it is here: all of it, or so much, or nobody loads it. */
static void write_progress(struct writer *w, const struct model_view *model) {
  bool here = model->state == MODEL_READY || model->state == MODEL_PARKED;
  if (here || model->state == MODEL_LOADING)
    writer_hundredths(w, "progressPercent", here ? 10000 : model->progress);
  else
    writer_null(w, "progressPercent");
}

static void write_error(struct writer *w, const struct problem *problem) {
  if (!problem->status) {
    writer_null(w, "error");
    return;
  }
  writer_object(w, "error");
  writer_text(w, "code", status_code(problem->status));
  writer_text(w, "message", *problem->text ? problem->text : status_text(problem->status));
  writer_end(w);
}

void op_models_write(struct writer *w, const char *key, const struct model_view *model) {
  writer_object(w, key);
  write_place(w, model);
  write_size(w, model);
  writer_text(w, "priority", view_priorities[model->priority]);
  writer_bool(w, "pinned", model->pinned);
  writer_bool(w, "busy", model->busy);
  writer_time(w, "lastUsedAt", model->last_used_at);
  writer_uint(w, "useCount", model->use_count);
  writer_time(w, "loadedAt", model->loaded_at);
  write_progress(w, model);
  write_error(w, &model->error);
  writer_end(w);
}

enum status op_models_look(struct ops_call *call, uint64_t id, struct model_view *out,
                           struct problem *problem) {
  char text[ID_SIZE];
  return model_look(ops_service(call->ops), id_format(ID_MODEL, id, text), out, problem);
}

/* ---- which one ---- */

enum status op_models_name(const char *said, char out[MODEL_NAME], struct problem *problem) {
  if (*said && strlen(said) < MODEL_NAME) {
    memcpy(out, said, strlen(said) + 1);
    return STATUS_OK;
  }
  problem_set(problem, STATUS_MODEL_NOT_FOUND, "no model %.60s", said);
  snprintf(problem->subject, sizeof problem->subject, "%.64s", said);
  return STATUS_MODEL_NOT_FOUND;
}

struct one {
  char id[OP_MODELS_ID];
};

static enum ops_progress run_get(struct ops_call *call, void *params) {
  char name[MODEL_NAME];
  struct model_view model;
  struct problem problem;
  struct writer w;
  if (op_models_name(((const struct one *)params)->id, name, &problem) ||
      model_look(ops_service(call->ops), name, &model, &problem))
    return reply_fail(call, &problem);
  reply_begin(call, &w);
  op_models_write(&w, "model", &model);
  return reply_end(call, &w);
}

static const struct reader_field one_fields[] = {OP_MODELS_ID_FIELD(struct one, id)};

const struct ops_row op_models_get = {.action = "memory.get_model_info",
                                      .method = OPS_GET,
                                      .path = "/api/memory/models/{id}",
                                      .role = CALLER_READ,
                                      .envelope = true,
                                      .fields = one_fields,
                                      .field_count = 1,
                                      .path_count = 1,
                                      .params_size = sizeof(struct one),
                                      .summary = "One model",
                                      .answer = "Model",
                                      .schema = "ModelAnswer",
                                      .handler = run_get};

/* ---- list ---- */

struct list {
  uint64_t limit, cursor;
};

static void list_defaults(void *params) { *(struct list *)params = (struct list){100, OP_START}; }

static enum ops_progress run_list(struct ops_call *call, void *params) {
  struct list *list = params;
  struct model_page page;
  struct problem problem;
  struct writer w;
  if (op_cursor(&list->cursor, &problem))
    return reply_fail(call, &problem);
  if (model_list(ops_service(call->ops), list->cursor, (uint32_t)list->limit, &page)) {
    problem_set(&problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
    return reply_fail(call, &problem);
  }
  reply_begin(call, &w);
  writer_array(&w, "models");
  for (uint32_t i = 0; i < page.count; i++)
    op_models_write(&w, NULL, &page.models[i]);
  writer_end(&w);
  writer_id(&w, "nextCursor", ID_MODEL, page.next);
  free(page.models);
  return reply_end(call, &w);
}

static const struct reader_field list_fields[] = {
    OP_LIMIT(struct list, limit, "how many at most"),
    OP_CURSOR(struct list, cursor, ID_MODEL),
};

const struct ops_row op_models_list = {.action = "memory.list_models",
                                       .method = OPS_GET,
                                       .path = "/api/memory/models",
                                       .role = CALLER_READ,
                                       .envelope = true,
                                       .fields = list_fields,
                                       .field_count = 2,
                                       .query_count = 2,
                                       .params_size = sizeof(struct list),
                                       .summary = "Models, wherever their weights are",
                                       .answer = "Models",
                                       .schema = "ModelPage",
                                       .defaults = list_defaults,
                                       .handler = run_list};

/* ---- change ---- */

struct change {
  char id[OP_MODELS_ID];
  struct model_patch patch;
};

enum { CHANGE_ID, CHANGE_PINNED, CHANGE_PRIORITY, CHANGE_KEEP_ALIVE, CHANGE_NAME };

static enum ops_progress run_change(struct ops_call *call, void *params) {
  struct change *change = params;
  struct model_patch *patch = &change->patch;
  struct model_view model;
  struct problem problem;
  struct writer w;
  patch->has_pinned = call->said >> CHANGE_PINNED & 1;
  patch->has_priority = call->said >> CHANGE_PRIORITY & 1;
  patch->has_keep_alive = call->said >> CHANGE_KEEP_ALIVE & 1;
  patch->has_name = call->said >> CHANGE_NAME & 1;
  enum status status = op_models_name(change->id, patch->model, &problem);
  if (!status && patch->has_name && !*patch->name)
    status = problem_field(&problem, STATUS_INVALID_ARGUMENT, "name", "name must not be empty");
  if (!status)
    status = model_change(ops_service(call->ops), &call->caller, patch, &model, &problem);
  if (status)
    return reply_fail(call, &problem);
  reply_begin(call, &w);
  op_models_write(&w, "model", &model);
  return reply_end(call, &w);
}

static const struct reader_field change_fields[] = {
    [CHANGE_ID] = OP_MODELS_ID_FIELD(struct change, id),
    [CHANGE_PINNED] = {.name = "pinned",
                       .type = READER_BOOL,
                       .offset = offsetof(struct change, patch.pinned),
                       .doc = "it stays where it is, whatever the pressure"},
    [CHANGE_PRIORITY] = {.name = "priority",
                         .type = READER_WORD,
                         .offset = offsetof(struct change, patch.priority),
                         .words = view_priorities,
                         .doc = "who has to go first"},
    [CHANGE_KEEP_ALIVE] = OP_MODELS_KEEP_ALIVE(struct change, patch.keep_alive_seconds),
    [CHANGE_NAME] = {.name = "name",
                     .type = READER_TEXT,
                     .offset = offsetof(struct change, patch.name),
                     .size = MODEL_NAME,
                     .doc = "another name, which no other model has"},
};

const struct ops_row op_models_change = {.action = "memory.change_model",
                                         .method = OPS_PATCH,
                                         .path = "/api/memory/models/{id}",
                                         .role = CALLER_WRITE,
                                         .envelope = true,
                                         .fields = change_fields,
                                         .field_count = OP_COUNT(change_fields),
                                         .path_count = 1,
                                         .params_size = sizeof(struct change),
                                         .summary = "Pin a model, rename it, or set its priority",
                                         .answer = "Model",
                                         .schema = "ModelAnswer",
                                         .handler = run_change};

/* ---- unload, park ---- */

struct unload {
  char id[OP_MODELS_ID];
  int to;
  bool force;
  struct wait_said said;
};

static const char *const places[] = {"disk", "ram", NULL};
enum { TO_DISK, TO_RAM };

static void write_end(struct writer *w, const struct job_model *result) {
  writer_uint(w, "freedBytes", result->freed_bytes);
  writer_bool(w, "confirmed", result->confirmed);
  writer_array(w, "heldBy");
  for (uint32_t i = 0; i < result->holder_count; i++) {
    writer_object(w, NULL);
    writer_int(w, "pid", result->holders[i].pid);
    writer_text_or_null(w, "name", result->holders[i].name);
    writer_end(w);
  }
  writer_end(w);
}

void op_models_write_job(struct writer *w, const struct job_view *view) {
  writer_id(w, "modelId", ID_MODEL, view->result.model.model);
  if (view->kind == JOB_UNLOAD)
    write_end(w, &view->result.model);
}

static void answer_unloaded(struct ops_call *call, const struct model_view *model,
                            const struct job_model *result) {
  struct writer w;
  reply_begin(call, &w);
  op_models_write(&w, "model", model);
  write_end(&w, result);
  reply_end(call, &w);
}

static void encode_unloaded(struct ops_call *call, const struct job_view *view) {
  struct model_view model;
  struct problem problem;
  if (reply_failed_job(call, view))
    return;
  if (op_models_look(call, view->result.model.model, &model, &problem))
    reply_fail(call, &problem);
  else
    answer_unloaded(call, &model, &view->result.model);
}

static enum ops_progress run_unload(struct ops_call *call, void *params) {
  static const struct job_model nothing = {.confirmed = true};
  const struct unload *unload = params;
  struct model_unload want = {.to_ram = unload->to == TO_RAM, .force = unload->force};
  struct model_started started;
  struct problem problem;
  if (op_models_name(unload->id, want.model, &problem) ||
      model_unload_start(ops_service(call->ops), &call->caller, &want, &started, &problem))
    return reply_fail(call, &problem);
  if (started.job)
    return wait_said(call, started.job, &unload->said, encode_unloaded);
  answer_unloaded(call, &started.model, &nothing);
  return OPS_DONE;
}

static void unload_defaults(void *params) {
  ((struct unload *)params)->said = (struct wait_said){true, WAIT_DEFAULT};
}

static void park_defaults(void *params) {
  unload_defaults(params);
  ((struct unload *)params)->to = TO_RAM;
}

static const struct reader_field unload_fields[] = {
    OP_MODELS_ID_FIELD(struct unload, id),
    OP_TIMEOUT(struct unload),
    OP_BOOL(struct unload, force, "force", "false", "also a pinned one, or one that is attached"),
    OP_WAIT(struct unload, "true"),
    {.name = "to",
     .type = READER_WORD,
     .offset = offsetof(struct unload, to),
     .words = places,
     .otherwise = "disk",
     .doc = "give all of it back, or keep the weights in host memory"},
};

const struct ops_row op_models_unload = {.action = "memory.unload_model",
                                         .method = OPS_POST,
                                         .path = "/api/memory/models/{id}/unload",
                                         .role = CALLER_WRITE,
                                         .envelope = true,
                                         .starts = true,
                                         .fields = unload_fields,
                                         .field_count = OP_COUNT(unload_fields),
                                         .path_count = 1,
                                         .query_count = 1,
                                         .params_size = sizeof(struct unload),
                                         .summary = "Give a model's memory back",
                                         .answer = "Unloaded",
                                         .schema = "ModelUnloaded",
                                         .started_schema = "StartedModel",
                                         .defaults = unload_defaults,
                                         .handler = run_unload};

/* The same under the name that workers know (contract 5). */
const struct ops_row op_models_park = {.action = "memory.park_model",
                                       .role = CALLER_WRITE,
                                       .envelope = true,
                                       .starts = true,
                                       .fields = unload_fields,
                                       .field_count = OP_COUNT(unload_fields) - 1,
                                       .params_size = sizeof(struct unload),
                                       .summary = "Keep a model's weights in host memory only",
                                       .answer = "Parked",
                                       .schema = "ModelUnloaded",
                                       .started_schema = "StartedModel",
                                       .defaults = park_defaults,
                                       .handler = run_unload};
