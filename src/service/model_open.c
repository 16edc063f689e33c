/*
 * model_open: on the thread for files, for a network's file system may let us wait. A folder means
 * the index in it, else its one model file. See model_open.h.
 */
#include "service/model_open.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os_path.h"
#include "service/model_load.h"

static const char *const endings[] = {".safetensors", ".gguf", NULL};
static const char *const indexes[] = {".safetensors.index.json", NULL};

/* ---- what is named ---- */

static struct os_path_found *more(struct model_work *work, uint32_t count) {
  size_t all = (size_t)work->opened_count + count;
  struct os_path_found *grown =
      all <= CARD_FILES + 1 ? realloc(work->opened, all * sizeof *grown) : NULL;
  if (!grown)
    return NULL;
  work->opened = grown;
  return grown + work->opened_count;
}

static const char *const *roots_for(const struct service *s, const struct caller *caller) {
  bool trusted = caller->connection && caller->role == CALLER_ADMIN;
  return trusted ? NULL : (const char *const *)s->models->roots;
}

static const char *const *roots_of(const struct model_work *work) {
  return roots_for(work->service, &work->caller);
}

enum status model_open_path(const struct service *s, const struct caller *caller, const char *path,
                            struct os_path_found *out, struct problem *problem) {
  return os_path_open(path, roots_for(s, caller), out, problem);
}

static const char *file_name(const struct os_path_found *found) {
  const char *slash = strrchr(found->path, '/');
  return slash ? slash + 1 : found->path;
}

static enum status out_of_memory(struct problem *problem) {
  return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
}

/* The name in the folder that stands for the model: malloced. */
static enum status choose(const struct os_path_found *folder, char **name,
                          struct problem *problem) {
  const char *const *const kinds[] = {indexes, endings};
  uint32_t count = 0;
  for (unsigned i = 0; !count && i < 2; i++) {
    char *names = NULL;
    enum status status = os_path_list(folder, kinds[i], 2, &names, &count);
    if (status)
      return problem_set(problem, status, "%.200s cannot be listed", folder->path);
    if (count == 1) {
      *name = names;
      return STATUS_OK;
    }
    free(names);
  }
  return problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                     count ? "%.200s holds more than one model: name the file"
                           : "%.200s holds no model: no .safetensors, no .gguf",
                     folder->path);
}

static enum status open_folder(struct model_work *work, struct os_path_found *folder) {
  char *name = NULL;
  struct os_path_found *found = more(work, 1);
  enum status status =
      found ? choose(folder, &name, &work->problem) : out_of_memory(&work->problem);
  if (!status) {
    status = os_path_open_in(folder, name, roots_of(work), found, &work->problem);
    work->opened_count += !status;
    free(name);
  }
  share_close(&folder->share);
  return status;
}

static enum status open_named(struct model_work *work) {
  struct os_path_found found;
  enum status status =
      model_open_path(work->service, &work->caller, work->params.path, &found, &work->problem);
  if (status)
    return status;
  if (found.folder)
    return open_folder(work, &found);
  struct os_path_found *place = more(work, 1);
  if (!place) {
    share_close(&found.share);
    return out_of_memory(&work->problem);
  }
  *place = found;
  work->opened_count++;
  return STATUS_OK;
}

enum status model_open_take(struct model_work *work, const struct model_file *files,
                            uint32_t count) {
  struct os_path_found *place = more(work, count);
  if (!place)
    return out_of_memory(&work->problem);
  for (uint32_t i = 0; i < count; i++) {
    memset(&place[i], 0, sizeof place[i]);
    snprintf(place[i].path, sizeof place[i].path, "%s", files[i].name);
    if (share_copy(&files[i].share, &place[i].share))
      return problem_set(&work->problem, STATUS_INTERNAL_ERROR, "the daemon is out of descriptors");
    place[i].share.kind = SHARE_FILE;
    work->opened_count++;
    if (os_path_identify(&place[i].share, &place[i].identity))
      return problem_set(&work->problem, STATUS_INVALID_ARGUMENT, "%.200s is no file",
                         files[i].name);
  }
  return STATUS_OK;
}

bool model_open_unchanged(const struct model_work *work) {
  struct os_path_identity now;
  for (uint32_t i = 0; i < work->opened_count; i++)
    if (os_path_identify(&work->opened[i].share, &now) ||
        !os_path_same(&now, &work->opened[i].identity))
      return false;
  return true;
}

/* ---- shards ---- */

/* Opens the shards that an index names, beside it. */
static enum status open_missing(struct model_work *work) {
  struct os_path_found folder;
  const char *name = work->inspect.missing;
  char path[OS_PATH_MAX];
  snprintf(path, sizeof path, "%s", work->opened[0].path);
  char *slash = strrchr(path, '/');
  struct os_path_found *place = more(work, work->inspect.missing_count);
  if (!slash || !place)
    return slash ? out_of_memory(&work->problem)
                 : problem_set(&work->problem, STATUS_MODEL_FORMAT_INVALID,
                               "the shard %.200s is not among the files", name);
  slash[slash == path] = '\0';
  enum status status = model_open_path(work->service, &work->caller, path, &folder, &work->problem);
  if (status)
    return status;
  for (uint32_t i = 0; !status && i < work->inspect.missing_count; i++) {
    status = os_path_open_in(&folder, name, roots_of(work), &place[i], &work->problem);
    work->opened_count += !status;
    name += strlen(name) + 1;
  }
  share_close(&folder.share);
  return status;
}

/* ---- the inspector ---- */

static void inspect(struct model_work *work);

/* The first file of a split one may have been named by another of its parts: the card says the
 * order, and the files are put into it. */
static bool put_in_order(struct model_work *work) {
  uint32_t first = work->opened_count - work->card.head->files;
  for (uint32_t i = 0; i < work->card.head->files; i++) {
    const struct card_file *file = &work->card.files[i];
    uint32_t at = first + i;
    while (at < work->opened_count && (strlen(file_name(&work->opened[at])) != file->name_bytes ||
                                       memcmp(file_name(&work->opened[at]),
                                              work->card.text + file->name, file->name_bytes) != 0))
      at++;
    if (at == work->opened_count)
      return false;
    struct os_path_found swap = work->opened[first + i];
    work->opened[first + i] = work->opened[at];
    work->opened[at] = swap;
    if (work->opened[first + i].identity.size != file->size)
      return false;
  }
  return true;
}

static enum status take_card(struct model_work *work) {
  work->image = work->inspect.image;
  work->image_bytes = work->inspect.image_bytes;
  enum status status = card_check(work->image, work->image_bytes, &work->card, &work->problem);
  if (!status && (work->card.head->files > work->opened_count || !put_in_order(work)))
    status = problem_set(&work->problem, STATUS_MODEL_FORMAT_INVALID,
                         "the files are not those of the model's table");
  return status;
}

static void inspected_here(struct task *task) {
  struct model_work *work = model_work_of_hop(task);
  enum status status = work->problem.status;
  bool again = false;
  if (!status && work->inspect.missing && work->shards_asked++) {
    status = problem_set(&work->problem, STATUS_MODEL_FORMAT_INVALID,
                         "the files name more files again and again");
  } else if (!status && work->inspect.missing) {
    status = open_missing(work);
    again = !status;
  } else if (!status) {
    status = take_card(work);
  }
  free((void *)work->inspect.files);
  free(work->inspect.missing);
  if (again)
    inspect(work);
  else if (status)
    model_work_fail(work);
  else
    model_work_hop(work, model_load_plan);
}

static void inspected(struct inspector_task *task) {
  struct model_work *work =
      (struct model_work *)((char *)task - offsetof(struct model_work, inspect));
  work->problem = task->problem;
  work->hop.run = inspected_here;
  queue_post(work->service->models->files, &work->hop);
}

static void inspect(struct model_work *work) {
  struct models *models = work->service->models;
  struct inspector_file *files = calloc(work->opened_count, sizeof *files);
  if (!files || !models->inspector) {
    free(files);
    problem_set(&work->problem, STATUS_WORKER_UNAVAILABLE, "there is nobody to read model files");
    model_work_fail(work);
    return;
  }
  for (uint32_t i = 0; i < work->opened_count; i++)
    files[i] = (struct inspector_file){.name = file_name(&work->opened[i]),
                                       .size = work->opened[i].identity.size,
                                       .share = &work->opened[i].share};
  work->inspect =
      (struct inspector_task){.files = files, .file_count = work->opened_count, .done = inspected};
  models->inspector->inspect(models->inspector_ctx, &work->inspect);
}

static void open_all(struct task *task) {
  struct model_work *work = model_work_of_hop(task);
  enum status status = work->opened_count ? STATUS_OK : open_named(work);
  if (status)
    model_work_fail(work);
  else
    inspect(work);
}

void model_open_start(struct model_work *work) {
  work->hop.run = open_all;
  queue_post(work->service->models->files, &work->hop);
}
