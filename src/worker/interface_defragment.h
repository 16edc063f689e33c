/*
 * interface_defragment: memory.defragment: many moves, none of which overlaps another.
 *
 *   {"device_id","moves":[{"source":ID,"target":ID,"ranges":[FROM, TO, SIZE, ...]}, ...]}
 *   {"moved":[INDEX, ...],"bytes"}
 *
 * Three numbers are a move: a line has thousands of them, and an object each would cost more than
 * the copies do on a card. An index counts the moves of all pairs of segments before it. A move
 * that fails, or whose bytes are not the same afterwards, is left out of `moved`: its block simply
 * stays where it is.
 */
#ifndef WORKER_INTERFACE_DEFRAGMENT_H
#define WORKER_INTERFACE_DEFRAGMENT_H

#include "worker/interface.h"

void interface_defragment_run(struct interface_call *call, struct writer *w);

#endif
