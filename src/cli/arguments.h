/*
 * arguments: the words behind a verb become the `data` of a request. Every field of the operation
 * is a flag (size_bytes is --size-bytes); what a verb calls otherwise, and what it takes without a
 * flag, is in its row.
 */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include <stdint.h>

#include "base/buf.h"
#include "base/problem.h"
#include "base/writer.h"
#include "cli/table.h"
#include "cli/verbs.h"

struct arguments {
  const struct cli_operation *operation;
  struct buf data; /* the JSON object, in camelCase */
  struct writer w; /* while it is being written */
  uint64_t said;   /* bit i: field i of the operation */
};

/* The caller gives `out->data` back (buf_done), also after a failure. */
enum status arguments_read(const struct verb *verb, const char *const *words, int count,
                           struct arguments *out, struct problem *problem);
/* field=value words, or one JSON object. */
enum status arguments_read_exec(const struct cli_operation *operation, const char *const *words,
                                int count, struct arguments *out, struct problem *problem);
/* Adds what the verb sends unless it was said (which it still is not, then), and ends the object.
 */
enum status arguments_end(struct arguments *arguments, const char *const *defaults,
                          struct problem *problem);
bool arguments_said(const struct arguments *arguments, const char *field);
/* One more field; `value` as a user writes it. */
enum status arguments_add(struct arguments *arguments, const char *field, const char *value,
                          struct problem *problem);

#endif
