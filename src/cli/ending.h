/*
 * ending: signals that wait until the program is ready for them, so that it can put things in order
 * before it stops or dies of one. Before the first thread is made.
 */
#ifndef CLI_ENDING_H
#define CLI_ENDING_H

#include <signal.h>
#include <stddef.h>

struct ending {
  sigset_t set;
};

/* From now on these are held back. */
void ending_hold(struct ending *ending, const int *signals, size_t count);
/* One that has come, its number; 0: none. */
int ending_next(const struct ending *ending);
/* Does what the signal would have done at once: does not return if that is death. */
void ending_obey(int number);

#endif
