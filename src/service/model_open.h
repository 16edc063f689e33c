/*
 * model_open: from a path, or from files that a client opened, to the model's card: the files are
 * opened where that is allowed, an inspector reads their headers, and the shards that an index
 * names are opened as well. Private to this room.
 */
#ifndef SERVICE_MODEL_OPEN_H
#define SERVICE_MODEL_OPEN_H

#include "service/model_work.h"

/* Takes copies of the client's files. INTERNAL_ERROR: no descriptors. INVALID_ARGUMENT: one is no
 * file. System calls: no lock held. */
enum status model_open_take(struct model_work *work, const struct model_file *files,
                            uint32_t count);
/* Opens a path where the caller may: os_path_open. System calls that may take long: on the thread
 * for files. */
enum status model_open_path(const struct service *s, const struct caller *caller, const char *path,
                            struct os_path_found *out, struct problem *problem);
/* Opens what work->params.path names unless files were taken, and has them inspected. Goes on with
 * model_load_plan on the decision thread, the card in the work, or with model_work_fail. */
void model_open_start(struct model_work *work);
/* Whether the opened files are still the ones that they were. System calls. */
bool model_open_unchanged(const struct model_work *work);
/* The opened file behind a part of the card. */
static inline const struct os_path_found *model_open_part(const struct model_work *work,
                                                          uint32_t part) {
  return &work->opened[work->opened_count - work->card.head->files + part];
}

#endif
