/*
 * steward: what a process does for others: it is a worker of the daemon, which says when memory is
 * short, and then gives back what is empty: all of it when it is told or asked, and while it is
 * short whatever the program did not need in the last tenth of a second; otherwise in the last
 * seconds.
 */
#ifndef TORCH_STEWARD_H
#define TORCH_STEWARD_H

#include <memkeep/memkeep.h>

struct vram;
struct steward;

/* The client is borrowed. NULL: no memory, or no thread; then nothing is given back unasked. */
struct steward *steward_start(mk_client *client);
/* From now on it is looked after; borrowed for good. NULL as steward is fine, here and below. */
void steward_add(struct steward *steward, struct vram *card);
/* Waits for what it does just now; then it does nothing any more. */
void steward_stop(struct steward *steward);

#endif
