/*
 * model_taken: the path is opened on the thread for files, as a load does it. See model_taken.h.
 */
#include "service/model_taken.h"

#include <stdlib.h>
#include <string.h>

#include "service/job_work.h"
#include "service/model_open.h"

struct taken {
  struct task task; /* first */
  struct service *service;
  struct job *job;
  struct caller caller;
  struct problem problem;
  char path[MODEL_PATH];
};

static void look(struct task *task) {
  struct taken *taken = (struct taken *)task;
  struct service *s = taken->service;
  struct os_path_found found;
  struct problem problem;
  bool opens = !model_open_path(s, &taken->caller, taken->path, &found, &problem);
  if (opens)
    share_close(&found.share);
  job_finish(taken->job, opens ? &taken->problem : &problem);
  free(taken);
  atomic_fetch_sub(&s->looks, 1);
}

enum status model_taken_start(struct service *s, const struct caller *caller, const char *path,
                              struct job **job, const struct problem *problem) {
  bool room = atomic_fetch_add(&s->looks, 1) < MODEL_TAKEN_LOOKS;
  struct taken *taken = room ? calloc(1, sizeof *taken) : NULL;
  struct job_params make = {.kind = JOB_LOAD, .caller = caller};
  struct job *made = taken ? job_make(s, &make) : NULL;
  if (!made) {
    free(taken);
    atomic_fetch_sub(&s->looks, 1);
    return problem->status;
  }
  taken->task.run = look;
  taken->service = s;
  taken->job = made;
  taken->caller = *caller;
  taken->problem = *problem;
  memcpy(taken->path, path, strlen(path) + 1);
  *job = job_keep(made);
  queue_post(s->models->files, &taken->task);
  return STATUS_OK;
}
