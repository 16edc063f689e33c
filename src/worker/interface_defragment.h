/*
 * interface_defragment: memory.defragment: many moves, none of which overlaps another.
 *
 *   {"device_id","moves":[{"segments":[ID, ...],"file_id","count"}]}
 *   {"moved":[INDEX, ...],"bytes"}
 *
 * The moves are the rows of a file (base/moves.h), and an index is a row's. A move that fails, or
 * whose bytes are not the same afterwards, is left out of `moved`: its block simply stays where it
 * is.
 */
#ifndef WORKER_INTERFACE_DEFRAGMENT_H
#define WORKER_INTERFACE_DEFRAGMENT_H

#include "worker/interface.h"

void interface_defragment_run(struct interface_call *call, struct writer *w);

#endif
