/*
 * os_front: a program that runs in our stead: what we have it has too (descriptors, terminal,
 * process group, signal dispositions), signals for us go to it, and its end is what we tell as
 * ours. For a process of one thread.
 *
 *   os_front_begin(&front);      from here on no signal ends us
 *   … what has to be undone …
 *   os_front_run(&front, argv, &code, &problem);
 *   … undo it …
 */
#ifndef BASE_OS_FRONT_H
#define BASE_OS_FRONT_H

#include <signal.h>

#include "base/problem.h"

struct os_front {
  sigset_t before; /* the mask that the program gets */
};

/* SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1 and SIGUSR2 wait until os_front_run; for good. */
void os_front_begin(struct os_front *out);
/* Runs argv (NULL-terminated; argv[0] is looked up in PATH unless it has a slash) to its end.
 * *code: its exit status, 128 + n when signal n killed it; 127 or 126 when it cannot be found or
 * started, as shells have it, and then the problem says why. */
enum status os_front_run(const struct os_front *front, const char *const *argv, int *code,
                         struct problem *problem);

#endif
