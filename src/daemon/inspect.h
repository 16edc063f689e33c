/*
 * inspect: the service's inspector: each model's files are read by a process of its own,
 * memkeep-worker --inspect (worker/inspect.h), which may do with what it reads whatever it likes:
 * it has 30 s, and what it answers is judged here. A few at a time, the others in order.
 */
#ifndef DAEMON_INSPECT_H
#define DAEMON_INSPECT_H

#include "base/loop.h"
#include "service/inspector.h"

struct inspect;

struct inspect_params {
  struct loop *loop;
  const char *program; /* path of memkeep-worker, borrowed */
  uint64_t
      deadline_ns; /* for one model; 0: 30 s, for its CPU time has a limit and disks are slow */
};

enum status inspect_create(const struct inspect_params *params, struct inspect **out);
/* The table to give to the service; ctx is the struct inspect. Besides what its header says: a
 * process that ended without an answer has met a MODEL_FORMAT_INVALID. */
const struct inspector_table *inspect_table(void);
/* Ends what runs, and refuses what is asked from now on: WORKER_UNAVAILABLE. Loop thread. */
void inspect_stop(struct inspect *inspect);
/* The loop must not be running; after inspect_stop. NULL is fine. */
void inspect_free(struct inspect *inspect);

#endif
