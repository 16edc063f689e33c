/*
 * os_psi: a trigger is a line written to the file; from then on its descriptor has something urgent
 * whenever the stalls of a window reach what the line says. It ends with the descriptor. A window
 * of 2 s is the shortest that users without privileges may ask for.
 */
#include "base/os_psi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct os_psi {
  int fd;
  struct loop_watch *watch;
  os_psi_fn *fn;
  void *arg;
};

static void fired(void *arg, int events) {
  const struct os_psi *psi = arg;
  if (events & LOOP_URGENT)
    psi->fn(psi->arg);
}

/* Absent, switched off, not ours to watch, or a kernel that knows no triggers. */
static enum status status_of(int error) {
  return error == ENOENT || error == EOPNOTSUPP || error == EACCES || error == EPERM ||
                 error == EROFS || error == EINVAL
             ? STATUS_NOT_FOUND
             : STATUS_INTERNAL_ERROR;
}

static enum status set_trigger(const struct os_psi *psi, enum os_psi_kind kind) {
  static const char *const lines[] = {
      [OS_PSI_SOME] = "some 200000 2000000", [OS_PSI_FULL] = "full 100000 2000000"};
  ssize_t n = write(psi->fd, lines[kind], strlen(lines[kind]) + 1);
  return n < 0 ? status_of(errno) : STATUS_OK;
}

enum status os_psi_watch(struct loop *loop, const struct os_psi_params *params,
                         struct os_psi **out) {
  struct os_psi *psi = calloc(1, sizeof *psi);
  if (!psi)
    return STATUS_INTERNAL_ERROR;
  *psi = (struct os_psi){.fn = params->fn, .arg = params->arg};
  psi->fd = open(params->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  enum status status = psi->fd < 0 ? status_of(errno) : STATUS_OK;
  if (!status)
    status = set_trigger(psi, params->kind);
  if (!status)
    status = loop_watch(loop, psi->fd, fired, psi, &psi->watch);
  if (!status)
    loop_watch_events(psi->watch, LOOP_URGENT);
  if (status) {
    os_psi_free(psi);
    return status;
  }
  *out = psi;
  return STATUS_OK;
}

void os_psi_free(struct os_psi *psi) {
  if (!psi)
    return;
  loop_unwatch(psi->watch);
  if (psi->fd >= 0)
    close(psi->fd);
  free(psi);
}
