/*
 * tally: once a minute the history is given how long operations took since the last time. Loop
 * thread, or while the loop does not run.
 */
#ifndef DAEMON_TALLY_H
#define DAEMON_TALLY_H

#include "base/loop.h"
#include "ops/ops.h"

struct tally;

/* NULL: no memory; then only those who ask for analytics make it be given. */
struct tally *tally_start(struct loop *loop, struct ops *ops);
/* Gives what is left. NULL is fine. */
void tally_free(struct tally *tally);

#endif
