/*
 * staff: the workers that we start: the mover of host memory, one for each card, and those of
 * --worker. Who they are does not change, so any thread may look for a name; all else is for the
 * loop's thread.
 */
#ifndef DAEMON_STAFF_H
#define DAEMON_STAFF_H

#include "daemon/command.h"
#include "daemon/routing.h"
#include "daemon/worker.h"
#include "daemon/workers.h"

#define STAFF_MAX (WORKERS_MAX + VIEW_DEVICES)
#define STAFF_ENVIRONMENT 2 /* everybody's, and a card's */

struct staff {
  struct {
    struct worker *worker;
    struct workers_command command;
    const char *words[COMMAND_WORDS + 1]; /* into the command */
    const char *environment[STAFF_ENVIRONMENT + 1];
  } members[STAFF_MAX];
  unsigned count;
  struct routing routing;
};

/* Makes them, not yet their processes. `how` says what is the same for all. On failure staff_done
 * is to follow. */
enum status staff_init(struct staff *staff, const struct workers_params *params,
                       const struct worker_params *how, struct problem *problem);
/* Their processes have ended. */
void staff_done(struct staff *staff);
/* NULL: there is none. */
struct worker *staff_named(const struct staff *staff, const char *name);
/* Who does a task: the one that it names, else the one that routing says. NULL: there is none. */
struct worker *staff_for(const struct staff *staff, const struct mover_task *task);

#endif
