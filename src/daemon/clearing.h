/*
 * clearing: memory.clear asked of many workers, and one answer made of theirs. Loop thread only.
 */
#ifndef DAEMON_CLEARING_H
#define DAEMON_CLEARING_H

#include "service/mover.h"

struct clearing;

/* NULL: no memory, and the task is done already. */
struct clearing *clearing_begin(struct mover_task *asked);
/* The task for one worker more, to be submitted or given up. NULL: there are too many. */
struct mover_task *clearing_part(struct clearing *clearing, const char *worker);
/* It could not be submitted. */
void clearing_give_up(struct mover_task *part);
/* All were asked: the task is done when their answers are there. */
void clearing_end(struct clearing *clearing);

#endif
