/*
 * os_alone: a core for one thread. What a thread does in the kernel for long, as giving gigabytes
 * back, is not always put aside for another that wakes on the same core: the other may wait for the
 * scheduler's next tick, some milliseconds. So all other threads of this process stay off that core
 * meanwhile.
 */
#ifndef BASE_OS_ALONE_H
#define BASE_OS_ALONE_H

#include <sched.h>
#include <stdbool.h>

struct os_alone {
  cpu_set_t whole; /* the cores of this process */
};

/* The calling thread stays on its core, the others of this process leave it. Some 5 us a thread;
 * one thread at a time. False, and nothing is changed: there is no other core. */
bool os_alone_begin(struct os_alone *out);
/* As it was. Only after a begin that was true, on the same thread. */
void os_alone_end(const struct os_alone *alone);

#endif
