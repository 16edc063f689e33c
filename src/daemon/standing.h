/*
 * standing: what a worker said last of itself (memory.get_status), and for which of its generations
 * that holds. It says memory.changed whenever it is not the same any more; then the answer is
 * dropped and asked for again, one question at a time. Loop thread only.
 */
#ifndef DAEMON_STANDING_H
#define DAEMON_STANDING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/reader.h"
#include "service/view.h"

#define STANDING_MODELS 64 /* of one worker; more are not looked at */
#define STANDING_OPPORTUNITIES 16

struct standing {
  uint64_t generation; /* the newest that it told of */
  uint64_t answered_ns, asked_real;
  uint64_t memory_bytes, reclaimable_bytes;
  bool memory_unknown, reclaimable_unknown; /* said to be null, or not said */
  struct view_worker_model *models;         /* malloced, without the worker's name */
  struct view_opportunity *opportunities;   /* the same */
  uint32_t model_count, opportunity_count;
  bool valid;  /* the answer is of the newest generation */
  bool asking; /* a question is under way */
  bool again;  /* and its answer will be too old */
  bool unable; /* it does not know the question */
  bool lists;  /* it names its models: what it does not name it does not have */
};

/* True: ask it. False: a question is under way, or in vain. */
bool standing_ask(struct standing *standing);
/* The question has its answer, or will never have one. True: ask again. */
bool standing_asked(struct standing *standing);
/* memory.changed with its data. */
void standing_changed(struct standing *standing, struct reader_value data);
/* An answer: its data, or that it does not know the question (NOT_FOUND). */
void standing_answered(struct standing *standing, struct reader_value root);
/* The data of an answer. */
void standing_heard(struct standing *standing, struct reader_value data);
/* Frees what it holds. */
void standing_done(struct standing *standing);

/* The figures, without who it is; `reports`: it can be asked. */
void standing_view(const struct standing *standing, bool reports, struct view_worker *out);

#endif
