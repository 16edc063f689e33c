/*
 * models_load: from files to memory. A client of the socket may open the files itself and send them
 * with the line; then it is its own permissions that count, and no path is said.
 */
#include <stdio.h>
#include <string.h>

#include "ops/op/models.h"
#include "ops/reply.h"
#include "ops/wait.h"

struct load {
  struct model_load params;
  char name[OP_MODELS_ID];
  bool keep_ram_copy;
  struct reader_value files;
  struct wait_said said;
};
/* Places in the table of fields. */
enum { LOAD_TIMEOUT, LOAD_KEEP_RAM_COPY, LOAD_PRIORITY, LOAD_PINNED, LOAD_KEEP_ALIVE };

/* ---- the answer ---- */

static enum ops_progress answer(struct ops_call *call, const struct model_view *model) {
  struct writer w;
  reply_begin(call, &w);
  op_models_write(&w, "model", model);
  return reply_end(call, &w);
}

static void encode(struct ops_call *call, const struct job_view *view) {
  struct model_view model;
  struct problem problem;
  if (reply_failed_job(call, view))
    return;
  if (op_models_look(call, view->result.model.model, &model, &problem))
    reply_fail(call, &problem);
  else
    answer(call, &model);
}

static void write_victims(struct ops_call *call, struct writer *w, const struct job_trial *trial) {
  struct model_view model;
  struct problem ignored;
  writer_array(w, "wouldEvict");
  for (uint32_t i = 0; i < trial->count; i++) {
    struct model_victim victim = {.id = trial->victims[i].model,
                                  .bytes = trial->victims[i].bytes,
                                  .to = trial->victims[i].to};
    if (!op_models_look(call, victim.id, &model, &ignored))
      memcpy(victim.name, model.name, sizeof victim.name);
    op_models_write_victim(w, &victim);
  }
  writer_end(w);
}

static void encode_trial(struct ops_call *call, const struct job_view *view) {
  const struct job_trial *trial = &view->result.trial;
  struct writer w;
  if (reply_failed_job(call, view))
    return;
  reply_begin(call, &w);
  writer_bool(&w, "wouldFit", trial->would_fit);
  write_victims(call, &w, trial);
  op_models_write_estimate(&w, &trial->estimate);
  reply_end(call, &w);
}

/* It is there already: it fits, nobody has to go. */
static void answer_resident_trial(struct ops_call *call, const struct model_view *model) {
  const struct job_view view = {.state = JOB_COMPLETED,
                                .result.trial = {.would_fit = true, .estimate = model->estimate}};
  encode_trial(call, &view);
}

/* ---- the request ---- */

static const struct reader_field file_fields[] = {
    {.name = "name",
     .type = READER_TEXT,
     .size = sizeof(((struct model_file *)0)->name),
     .required = true,
     .doc = "a plain file name"},
};

static enum status decode_file(const struct ops_call *call, struct reader_value one,
                               struct model_file *out, struct problem *problem) {
  const struct reader_table table = {file_fields, OP_COUNT(file_fields),
                                     call->names == WRITER_SNAKE ? READER_SNAKE : READER_CAMEL,
                                     NULL};
  if (!reader_is_object(one))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "files", "a file is an object");
  enum status status = reader_decode(one, &table, out, NULL, problem);
  if (status)
    return status;
  if (*out->name && !strchr(out->name, '/'))
    return STATUS_OK;
  return problem_field(problem, STATUS_INVALID_ARGUMENT, "files",
                       "the name of a file is a plain one, without a directory");
}

static enum status decode_files(struct ops_call *call, struct load *load, struct model_file *files,
                                struct problem *problem) {
  size_t count = reader_count(load->files);
  if (!call->caller.connection)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "files",
                         "files come over the socket, with their descriptors");
  if (!reader_is_array(load->files) || !count || count > OPS_SHARES)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "files",
                         "files is an array of 1 to %d objects", OPS_SHARES);
  if (count != call->given_count)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "files",
                         "%zu files are named, but %u descriptors came with them", count,
                         call->given_count);
  for (size_t i = 0; i < count; i++) {
    enum status status = decode_file(call, reader_at(load->files, i), &files[i], problem);
    if (status)
      return status;
    files[i].share = call->given[i];
  }
  load->params.files = files;
  load->params.file_count = (uint32_t)count;
  *load->params.path = '\0';
  return STATUS_OK;
}

static enum status settle(struct ops_call *call, struct load *load, struct model_file *files,
                          struct problem *problem) {
  if (call->said >> LOAD_KEEP_RAM_COPY & 1)
    load->params.keep_ram_copy = load->keep_ram_copy;
  load->params.keeps.priority = !(call->said >> LOAD_PRIORITY & 1);
  load->params.keeps.pinned = !(call->said >> LOAD_PINNED & 1);
  load->params.keeps.keep_alive = !(call->said >> LOAD_KEEP_ALIVE & 1);
  if (strlen(load->name) >= MODEL_NAME)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "name", "name is longer than %d bytes",
                         MODEL_NAME - 1);
  memcpy(load->params.name, load->name, strlen(load->name) + 1);
  if (load->files.json)
    return decode_files(call, load, files, problem);
  return *load->params.path ? STATUS_OK
                            : problem_field(problem, STATUS_MISSING_PARAMETER, "path",
                                            "path is required: the file or directory to load");
}

static enum ops_progress run(struct ops_call *call, void *arg) {
  struct load *load = arg;
  struct model_file files[OPS_SHARES];
  struct model_started started;
  struct problem problem;
  enum status status = settle(call, load, files, &problem);
  if (!status)
    status =
        model_load_start(ops_service(call->ops), &call->caller, &load->params, &started, &problem);
  load->params.files = NULL;
  if (status)
    return reply_fail(call, &problem);
  if (started.job && (load->params.dry_run || started.refused))
    return wait_finished(call, started.job, encode_trial);
  if (started.job)
    return wait_said(call, started.job, &load->said, encode);
  if (!load->params.dry_run)
    return answer(call, &started.model);
  answer_resident_trial(call, &started.model);
  return OPS_DONE;
}

/* ---- fields ---- */

static void set_defaults(void *params) {
  struct load *load = params;
  load->params = MODEL_LOAD_DEFAULT;
  load->said = (struct wait_said){true, WAIT_DEFAULT};
}

#define AT(member) offsetof(struct load, member)
#define TEXT(member, field, sentence)                                                              \
  {                                                                                                \
    .name = (field), .type = READER_TEXT, .offset = AT(member),                                    \
    .size = sizeof(((struct load *)0)->member), .doc = (sentence)                                  \
  }

static const struct reader_field fields[] = {
    [LOAD_TIMEOUT] = OP_TIMEOUT(struct load),
    [LOAD_KEEP_RAM_COPY] = {.name = "keepRamCopy",
                            .type = READER_BOOL,
                            .offset = AT(keep_ram_copy),
                            .doc = "keep the weights in host memory besides; not said: where there "
                                   "is room"},
    [LOAD_PRIORITY] = {.name = "priority",
                       .type = READER_WORD,
                       .offset = AT(params.priority),
                       .words = view_priorities,
                       .otherwise = "normal",
                       .doc = "who has to go first; a model that is listed keeps its own"},
    [LOAD_PINNED] = OP_BOOL(struct load, params.pinned, "pinned", "false",
                            "it stays where it is, whatever the pressure; one that is listed keeps "
                            "its pin"),
    [LOAD_KEEP_ALIVE] = OP_MODELS_KEEP_ALIVE(struct load, params.keep_alive_seconds),
    TEXT(
        params.path, "path",
        "a safetensors or GGUF file, or a directory or index of shards; required but with `files`"),
    TEXT(name, "name", "what it is called; else as its file"),
    TEXT(params.device, "deviceId", "device id, UUID or PCI address; else the best"),
    TEXT(params.worker, "workerId", "who loads it"),
    OP_BOOL(struct load, params.evict, "evict", "true", "others may go to make room"),
    OP_BOOL(struct load, params.verify, "verify", "true",
            "compare what arrived with what was read"),
    OP_BOOL(struct load, params.dry_run, "dryRun", "false",
            "only say whether it would fit, and who would go"),
    OP_WAIT(struct load, "true"),
    {.name = "files",
     .type = READER_RAW,
     .offset = AT(files),
     .doc = "socket only, in place of a path: objects with `name`, one for each descriptor that "
            "comes with the line, in that order"},
};

_Static_assert(sizeof(struct load) <= OPS_PARAMS, "a load fits into a call");

const struct ops_row op_models_load_start = {.action = "memory.load_model",
                                             .method = OPS_POST,
                                             .path = "/api/memory/models/load",
                                             .role = CALLER_WRITE,
                                             .envelope = true,
                                             .starts = true,
                                             .fields = fields,
                                             .field_count = OP_COUNT(fields),
                                             .query_count = 1,
                                             .params_size = sizeof(struct load),
                                             .summary = "Load a model from its files",
                                             .answer = "Loaded",
                                             .schema = "ModelAnswer",
                                             .dry_schema = "ModelTrial",
                                             .started_schema = "StartedModel",
                                             .defaults = set_defaults,
                                             .handler = run};
