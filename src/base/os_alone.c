/*
 * os_alone: affinities of all threads that /proc names, from the mask that the calling thread has,
 * and back to it. A thread that starts meanwhile has its maker's, and gets the whole one at the end
 * like the others.
 */
#include "base/os_alone.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static void set_all(pid_t but, const cpu_set_t *set) {
  DIR *tasks = opendir("/proc/self/task");
  struct dirent *entry;
  while (tasks && (entry = readdir(tasks))) {
    pid_t task = (pid_t)strtol(entry->d_name, NULL, 10);
    if (task && task != but)
      (void)sched_setaffinity(task, sizeof *set, set);
  }
  if (tasks)
    closedir(tasks);
}

bool os_alone_begin(struct os_alone *out) {
  cpu_set_t whole, own, others;
  int core = sched_getcpu();
  if (core < 0 || core >= CPU_SETSIZE || sched_getaffinity(0, sizeof whole, &whole) ||
      CPU_COUNT(&whole) < 2)
    return false;
  CPU_ZERO(&own);
  CPU_SET((size_t)core, &own);
  CPU_XOR(&others, &whole, &own);
  (void)sched_setaffinity(0, sizeof own, &own);
  set_all(gettid(), &others);
  out->whole = whole;
  return true;
}

void os_alone_end(const struct os_alone *alone) { set_all(0, &alone->whole); }
