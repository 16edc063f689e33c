/*
 * defragment_plan: what a defragmentation moves of an owner's on a device. The first moves are
 * planned at once, the rest on a thread of its own beside the copies, for to look at a block and to
 * find it a place takes as long as to move it. Private to work_defragment.
 */
#ifndef SERVICE_DEFRAGMENT_PLAN_H
#define SERVICE_DEFRAGMENT_PLAN_H

#include "service/snapshot.h"

struct defragment_plan;

/* The snapshot is borrowed; its service, device and owner are set. INTERNAL_ERROR: no memory. */
enum status defragment_plan_open(struct snapshot *snapshot, enum defrag_strategy strategy,
                                 struct defragment_plan **out);
/* Waits for a look that is under way. NULL is fine. */
void defragment_plan_close(struct defragment_plan *plan);
/* So far: at least so many moves, or all that there are; it waits for them. Its own until the next
 * call, but for the moves and victims: these stay where they are. One thread. */
const struct defrag_plan *defragment_plan_wait(struct defragment_plan *plan, uint32_t moves);

#endif
