/*
 * clearing: counts who has not answered; the one who asks is counted too, so that nothing ends
 * before all are asked. A worker that fails is left out.
 */
#include "daemon/clearing.h"

#include <stdio.h>
#include <stdlib.h>

struct part {
  struct mover_task task; /* first: the worker hands it back */
  struct clearing *clearing;
  char worker[40];
};

struct clearing {
  struct part parts[VIEW_CLEARED];
  unsigned count, waiting;
  struct mover_task *asked;
};

struct clearing *clearing_begin(struct mover_task *asked) {
  struct clearing *clearing = calloc(1, sizeof *clearing);
  if (!clearing) {
    asked->done(asked);
    return NULL;
  }
  clearing->asked = asked;
  clearing->waiting = 1;
  return clearing;
}

static void one_less(struct clearing *clearing) {
  if (--clearing->waiting)
    return;
  struct mover_task *asked = clearing->asked;
  free(clearing);
  asked->done(asked);
}

static void cleared(struct mover_task *task) {
  struct part *part = (struct part *)task;
  struct mover_task *asked = part->clearing->asked;
  if (!task->problem.status && asked->cleared_count < VIEW_CLEARED) {
    snprintf(asked->cleared[asked->cleared_count].id, sizeof asked->cleared[0].id, "%s",
             part->worker);
    asked->cleared[asked->cleared_count++].bytes = task->bytes;
  }
  one_less(part->clearing);
}

struct mover_task *clearing_part(struct clearing *clearing, const char *worker) {
  if (clearing->count == VIEW_CLEARED)
    return NULL;
  struct part *part = &clearing->parts[clearing->count++];
  *part = (struct part){.task = {.action = MOVER_CLEAR,
                                 .device_id = clearing->asked->device_id,
                                 .value = clearing->asked->value,
                                 .layers = clearing->asked->layers,
                                 .began_ns = clearing->asked->began_ns,
                                 .done = cleared},
                        .clearing = clearing};
  snprintf(part->worker, sizeof part->worker, "%s", worker);
  clearing->waiting++;
  return &part->task;
}

void clearing_give_up(struct mover_task *part) { one_less(((struct part *)part)->clearing); }

void clearing_end(struct clearing *clearing) { one_less(clearing); }
