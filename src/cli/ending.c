/*
 * ending: blocked, and looked for; there is no handler.
 */
#include "cli/ending.h"

#include <time.h>

void ending_hold(struct ending *ending, const int *signals, size_t count) {
  sigemptyset(&ending->set);
  for (size_t i = 0; i < count; i++)
    sigaddset(&ending->set, signals[i]);
  pthread_sigmask(SIG_BLOCK, &ending->set, NULL);
}

int ending_next(const struct ending *ending) {
  static const struct timespec at_once = {0};
  int number = sigtimedwait(&ending->set, NULL, &at_once);
  return number > 0 ? number : 0;
}

void ending_obey(int number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  signal(number, SIG_DFL);
  raise(number);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
