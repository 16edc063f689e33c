/*
 * inspect_read: the headers of a model's files as one card. What a file is, its first bytes say,
 * not its name. Nothing behind the headers is read. Pure but for reading.
 */
#ifndef WORKER_INSPECT_READ_H
#define WORKER_INSPECT_READ_H

#include "base/buf.h"
#include "base/problem.h"
#include "base/share.h"
#include "model/card.h"

#define INSPECT_READ_FILES (CARD_FILES + 1) /* shards, and an index */

struct inspect_read_file {
  char name[CARD_NAME + 1]; /* a plain file name */
  uint64_t size;
  struct share share; /* open for reading */
};
struct inspect_read_set {
  const struct inspect_read_file *files; /* the shards in order, an index before them */
  uint32_t count;                        /* at least 1 */
};
struct inspect_read_answer {
  void *image; /* malloced, the caller's; NULL: some files are missing */
  size_t image_bytes;
  struct buf missing; /* their names, NUL-terminated one after another; buf_done it */
  uint32_t missing_count;
};

/* MODEL_FORMAT_INVALID with the reason, and the file's name where there are several; also when 512
 * MiB are too little (design 2). */
enum status inspect_read(const struct inspect_read_set *set, struct inspect_read_answer *out,
                         struct problem *problem);

#endif
