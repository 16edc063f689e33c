/*
 * process: a talk with a process that we start: its pipes carry the lines, a socket pair the
 * descriptors, and signals end it. Loop thread only.
 */
#ifndef DAEMON_PROCESS_H
#define DAEMON_PROCESS_H

#include "base/loop.h"
#include "daemon/talk.h"

struct process_params {
  struct loop *loop;
  const char *const *argv, *const *environment; /* NULL-terminated; borrowed */
  struct talk_params talk;
};

/* NOT_FOUND: there is no such program. */
enum status process_start(const struct process_params *params, struct talk **out);

#endif
