/*
 * os_process: a pidfd in the loop. The pidfd is opened first and the start time compared second:
 * from then on the pid cannot have been given to someone else.
 */
#include "base/os_process.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/spawn.h"

struct os_process {
  int fd;
  struct loop_watch *watch;
  os_process_fn *fn;
  void *arg;
};

static void ended(void *arg, int events) {
  (void)events;
  struct os_process *process = arg;
  loop_watch_events(process->watch, 0);
  process->fn(process->arg);
}

/* No such process; no process but a thread (ENOENT since Linux 6.15, EINVAL before); no pid. */
static enum status status_of(int error) {
  return error == ESRCH || error == ENOENT || error == EINVAL ? STATUS_NOT_FOUND
                                                              : STATUS_INTERNAL_ERROR;
}

/* Another one has its number by now. One that cannot be looked at is not known to be gone. */
static enum status compare(const struct os_process_params *params) {
  uint64_t start = spawn_start_time(params->pid);
  if (start == params->start_time)
    return STATUS_OK;
  return start ? STATUS_NOT_FOUND : STATUS_INTERNAL_ERROR;
}

enum status os_process_watch(struct loop *loop, const struct os_process_params *params,
                             struct os_process **out) {
  struct os_process *process = calloc(1, sizeof *process);
  if (!process)
    return STATUS_INTERNAL_ERROR;
  process->fn = params->fn;
  process->arg = params->arg;
  process->fd = (int)syscall(SYS_pidfd_open, params->pid, 0);
  enum status status = process->fd < 0 ? status_of(errno) : STATUS_OK;
  if (!status)
    status = compare(params);
  if (!status)
    status = loop_watch(loop, process->fd, ended, process, &process->watch);
  if (!status)
    loop_watch_events(process->watch, LOOP_READ);
  if (status) {
    os_process_free(process);
    return status;
  }
  *out = process;
  return STATUS_OK;
}

void os_process_free(struct os_process *process) {
  if (!process)
    return;
  loop_unwatch(process->watch);
  if (process->fd >= 0)
    close(process->fd);
  free(process);
}
