/*
 * listener: the file is made under a mask that lets nobody in and opened to whom the configuration
 * names afterwards. Whether a file that is there already has a living daemon behind it is asked by
 * connecting to it.
 */
#include "socket/listener.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 512
#define NOBODY UINT32_MAX /* a uid that no process has */

static enum status refuse(struct problem *problem, const char *path) {
  const char *hint = errno == ENOENT   ? ": no such folder"
                     : errno == EACCES ? ": this user may not write there"
                                       : "";
  return problem_field(problem, STATUS_INVALID_ARGUMENT, "socket", "socket %s: %s%s", path,
                       strerror(errno), hint);
}

static enum status address_of(const char *path, struct sockaddr_un *out, struct problem *problem) {
  size_t n = strlen(path);
  *out = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (n >= sizeof out->sun_path)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "socket",
                         "the socket's path has %zu bytes, at most %zu are possible: %.100s…", n,
                         sizeof out->sun_path - 1, path);
  memcpy(out->sun_path, path, n + 1);
  return STATUS_OK;
}

static bool somebody_answers(const struct sockaddr_un *address) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  bool answers = fd >= 0 && (!connect(fd, (const struct sockaddr *)address, sizeof *address) ||
                             errno == EAGAIN || errno == EINPROGRESS);
  if (fd >= 0)
    close(fd);
  return answers;
}

static bool bind_to(int fd, const struct sockaddr_un *address,
                    const struct listener_params *params) {
  mode_t mask = umask(0777);
  bool bound = !bind(fd, (const struct sockaddr *)address, sizeof *address);
  umask(mask);
  if (!bound)
    return false;
  if (params->group >= 0 && chown(address->sun_path, (uid_t)-1, (gid_t)params->group))
    return false;
  return !chmod(address->sun_path, params->mode ? (mode_t)params->mode : 0600) &&
         !listen(fd, BACKLOG);
}

enum status listener_open(const struct listener_params *params, struct share *out,
                          struct problem *problem) {
  struct sockaddr_un address;
  enum status status = address_of(params->path, &address, problem);
  if (status)
    return status;
  struct stat there;
  if (!lstat(params->path, &there)) {
    if (!S_ISSOCK(there.st_mode))
      return problem_field(problem, STATUS_CONFLICT, "socket", "%s is there and is no socket",
                           params->path);
    if (somebody_answers(&address))
      return problem_field(problem, STATUS_CONFLICT, "socket", "somebody listens on %s already",
                           params->path);
    unlink(params->path);
  }
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "no descriptor is left for the socket");
  if (!bind_to(fd, &address, params)) {
    status = refuse(problem, params->path);
    close(fd);
    return status;
  }
  *out = (struct share){SHARE_FILE, fd};
  return STATUS_OK;
}

bool listener_accept(const struct share *listener, struct share *client,
                     struct listener_peer *peer) {
  struct ucred who;
  socklen_t n = sizeof who;
  int fd;
  do
    fd = accept4((int)listener->value, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
  if (fd < 0)
    return false;
  *peer = (struct listener_peer){.uid = NOBODY};
  if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n))
    *peer = (struct listener_peer){who.uid, who.pid};
  *client = (struct share){SHARE_FILE, fd};
  return true;
}
