/*
 * interface_load: one file after the other, for each is read by as many threads as pay. The model
 * is whole or not loaded: the first failure ends it, and its text says which file it was.
 */
#include "worker/interface_load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/units.h"
#include "worker/interface_place.h"
#include "worker/load.h"
#include "worker/manager.h"

#define LOAD_FILES 1024 /* a card names no more */

struct file {
  uint64_t id;
  struct share share;
};

struct model {
  struct interface_call *call;
  struct file *files;
  size_t file_count, at; /* the target that is being loaded */
  struct reader_value targets;
  uint64_t *fingerprints; /* by target */
  uint64_t done;          /* bytes of the targets before */
  bool verify, verified;
};

static enum status bad(struct model *model, const char *what) {
  return problem_set(&model->call->problem, STATUS_INVALID_ARGUMENT, "%s", what);
}

/* ---- the files ---- */

static enum status take_files(struct model *model) {
  struct interface_call *call = model->call;
  struct reader_value ids = reader_get(call->data, "file_ids");
  size_t count = reader_count(ids);
  if (!count || count > LOAD_FILES)
    return bad(model, "file_ids must name 1 to 1024 files");
  model->files = calloc(count, sizeof *model->files);
  if (!model->files)
    return STATUS_INTERNAL_ERROR;
  enum status status = STATUS_OK;
  for (size_t i = 0; i < count; i++) {
    struct file file = {.id = reader_uint(reader_at(ids, i), UINT64_MAX)};
    enum status one = manager_take_file(interface_manager(call), file.id, &file.share);
    if (one)
      status = one;
    else
      model->files[model->file_count++] = file;
  }
  return status ? problem_set(&call->problem, STATUS_INVALID_ARGUMENT,
                              "a file of file_ids did not arrive")
                : STATUS_OK;
}

static void give_files(struct model *model) {
  for (size_t i = 0; i < model->file_count; i++)
    share_close(&model->files[i].share);
  free(model->files);
}

static const struct share *find_file(const struct model *model, uint64_t id) {
  for (size_t i = 0; i < model->file_count; i++)
    if (model->files[i].id == id)
      return &model->files[i].share;
  return NULL;
}

/* ---- one target ---- */

/* Also a sign of life while bytes are read again. The last byte is told by the answer, for what is
 * complete is told at once however often. */
static void on_progress(void *arg, const struct load_progress *progress) {
  const struct model *model = arg;
  uint64_t done = model->done + progress->bytes_done, total = model->call->bytes_total;
  interface_progress(model->call, units_min(done, total ? total - 1 : 0));
}

static enum status blame(struct model *model, enum status status, const char *why) {
  if (status == STATUS_CANCELLED)
    return problem_set(&model->call->problem, status, "cancelled");
  return problem_set(&model->call->problem, status, "file %zu of %zu: %.200s", model->at + 1,
                     reader_count(model->targets), why);
}

static enum status run(struct model *model, struct load_work *work) {
  enum status status = load_run(work);
  model->call->device_us += work->device_us;
  if (status)
    return blame(model, status, work->problem.status ? work->problem.text : status_text(status));
  if (work->identity_changed)
    return blame(model, STATUS_CONFLICT, "it was changed while it was read");
  model->fingerprints[model->at] = work->fingerprint;
  model->verified &= work->verified;
  model->done += work->size;
  return STATUS_OK;
}

static enum status load(struct model *model, const struct share *file, uint64_t size,
                        const struct interface_place_end *to) {
  struct load_work work = {.file = file,
                           .size = size,
                           .to = to->place,
                           .verify = model->verify,
                           .cancel = &model->call->cancel,
                           .progress = on_progress,
                           .arg = model,
                           .chunk_sums = calloc(load_chunks(size), sizeof(uint64_t))};
  enum status status = work.chunk_sums ? run(model, &work) : STATUS_INTERNAL_ERROR;
  free(work.chunk_sums);
  return status;
}

static enum status load_target(struct model *model, struct reader_value target) {
  const struct share *file =
      find_file(model, reader_uint(reader_get(target, "file_id"), UINT64_MAX));
  uint64_t size = reader_uint(reader_get(target, "size_bytes"), 0);
  struct interface_place_end to = {0};
  if (!file)
    return bad(model, "a target names a file that is not in file_ids");
  enum status status = interface_place_take(model->call, target, size, &to);
  if (!status)
    status = load(model, file, size, &to);
  interface_place_give(model->call, &to);
  return status;
}

/* ---- all of them ---- */

static enum status load_all(struct model *model) {
  struct interface_call *call = model->call;
  size_t count = reader_count(model->targets);
  enum status status = take_files(model);
  if (status)
    return status;
  if (!count || count > LOAD_FILES)
    return bad(model, "targets must name 1 to 1024 places");
  model->fingerprints = calloc(count, sizeof *model->fingerprints);
  if (!model->fingerprints)
    return STATUS_INTERNAL_ERROR;
  call->bytes_total = 0;
  for (size_t i = 0; i < count; i++)
    call->bytes_total += reader_uint(reader_get(reader_at(model->targets, i), "size_bytes"), 0);
  for (; !status && model->at < count; model->at++)
    status = load_target(model, reader_at(model->targets, model->at));
  return status;
}

static void write_result(const struct model *model, struct writer *w) {
  char checksum[32];
  snprintf(checksum, sizeof checksum, "xxh3-64:%016" PRIx64,
           load_fingerprint(model->fingerprints, reader_count(model->targets)));
  writer_bool(w, "loaded", true);
  writer_uint(w, "sizeBytes", model->done);
  writer_text(w, "checksum", checksum);
  if (model->verify)
    writer_bool(w, "verified", model->verified);
  else
    writer_null(w, "verified");
  writer_double(w, "seconds",
                (double)(clock_now() - model->call->started_ns) / (double)CLOCK_SECOND);
}

void interface_load_run(struct interface_call *call, struct writer *w) {
  struct model model = {.call = call,
                        .targets = reader_get(call->data, "targets"),
                        .verify = reader_bool(reader_get(call->data, "verify"), true),
                        .verified = true};
  enum status status = load_all(&model);
  if (!status)
    write_result(&model, w);
  else if (!call->problem.status)
    problem_set(&call->problem, status, "loading: %s", status_text(status));
  give_files(&model);
  free(model.fingerprints);
}
