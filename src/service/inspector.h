/*
 * inspector: what the service wants from whoever reads the headers of model files: a process of
 * its own for each model, which may be taken over by what it reads. daemon/inspect.c implements the
 * table; tests may do it in place.
 */
#ifndef SERVICE_INSPECTOR_H
#define SERVICE_INSPECTOR_H

#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/queue.h"
#include "base/share.h"

struct inspector_file {
  const char *name; /* a plain file name */
  uint64_t size;
  const struct share *share; /* opened for reading */
};

/* Embedded by the caller, untouched by him from inspect to done. */
struct inspector_task {
  const struct inspector_file *files; /* the shards in order, an index first where there is one */
  uint32_t file_count;

  /* Results. Either a card image, checked (card_check) and malloced: the caller's; or, when the
   * files are not all, the names of the others: NUL-terminated one after another, malloced. */
  struct problem problem; /* MODEL_FORMAT_INVALID with the reason; WORKER_UNAVAILABLE */
  void *image;
  size_t image_bytes;
  char *missing;
  uint32_t missing_count;

  void (*done)(struct inspector_task *task); /* exactly once; loop thread, no lock held */
  /* the implementation's */
  struct task task;
  void *ctx;
};

struct inspector_table {
  void (*inspect)(void *ctx, struct inspector_task *task); /* any thread; only posts */
};

#endif
