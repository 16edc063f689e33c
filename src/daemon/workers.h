/*
 * workers: all workers, those that we start and those that come by the socket, and the service's
 * mover table over them. Tasks may be given from any thread; everything happens on the loop's.
 */
#ifndef DAEMON_WORKERS_H
#define DAEMON_WORKERS_H

#include "base/loop.h"
#include "base/problem.h"
#include "daemon/wire.h"
#include "device/spec.h"
#include "service/mover.h"

struct workers;
struct events;
struct guests;

#define WORKERS_MAX 16     /* that we start, beside the movers of cards */
#define WORKERS_OWN "host" /* the name of memkeep-worker, the mover of host memory */

struct workers_command {
  char name[40];
  char command[512]; /* see command.h */
};
struct workers_params {
  struct loop *loop;
  struct events *events;
  const char *own;        /* path of memkeep-worker, borrowed; NULL: none is started */
  uint64_t mover_idle_ns; /* how long the mover of a card outlives its last task */
  const char *socket;     /* MEMKEEP_SOCKET for them */
  const struct workers_command *commands;
  unsigned command_count;
  const struct spec *devices; /* borrowed */
  unsigned device_count;
  struct mover_numbers numbers;
  /* wire_initialize's. */
  bool (*limits)(void *arg, const char *device, struct wire_limits *out);
  void *limits_arg;
};

enum status workers_create(const struct workers_params *params, struct workers **out,
                           struct problem *problem);
void workers_start(struct workers *workers);
/* The table to give to the service; ctx is the struct workers. */
const struct mover_table *workers_table(void);
/* Those that come by the socket, for the door. */
struct guests *workers_guests(struct workers *workers);
/* Every worker that is ready is told this line. On the loop's thread. */
void workers_tell(struct workers *workers, const struct buf *line);
/* Ends ours; done(arg) on the loop when they are gone, at the latest after grace_ms and
 * SIGKILL. */
void workers_stop(struct workers *workers, uint64_t grace_ms, void (*done)(void *arg), void *arg);
void workers_free(struct workers *workers);

#endif
