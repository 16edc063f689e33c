/*
 * stalls: the kernel's word on who waits for memory, handed to the service. Where the kernel has
 * none, figures alone say what pressure is. Loop thread, or while the loop does not run.
 */
#ifndef DAEMON_STALLS_H
#define DAEMON_STALLS_H

#include "base/loop.h"
#include "service/service.h"

struct stalls;

/* NULL: there is nothing to watch. */
struct stalls *stalls_watch(struct loop *loop, struct service *service);
void stalls_free(struct stalls *stalls); /* NULL is fine */

#endif
