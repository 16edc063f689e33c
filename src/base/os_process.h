/*
 * os_process: to be told when a process ends, whoever started it. A process is its pid and start
 * time, so that a reused pid is never mistaken for it.
 */
#ifndef BASE_OS_PROCESS_H
#define BASE_OS_PROCESS_H

#include <stdint.h>

#include "base/loop.h"
#include "base/status.h"

struct os_process;

typedef void os_process_fn(void *arg);

/* Calls fn(arg) once, on the loop's thread, when it ends. NOT_FOUND: it is gone already, or another
 * one has the pid now. Loop thread only. */
struct os_process_params {
  int32_t pid;
  uint64_t start_time; /* spawn_start_time */
  os_process_fn *fn;
  void *arg;
};
enum status os_process_watch(struct loop *loop, const struct os_process_params *params,
                             struct os_process **out);
/* Also after fn was called; NULL is fine. Loop thread, or when the loop does not run any more. */
void os_process_free(struct os_process *process);

#endif
