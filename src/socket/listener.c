/*
 * listener: the file is made under a mask that lets nobody in and opened to whom the configuration
 * names afterwards. Whether a file that is there already has a living daemon behind it is asked by
 * connecting to it. A file is known by its inode, which lives as long as a socket is bound to it.
 */
#include "socket/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define BACKLOG 512

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

static bool bind_to(struct listener *listener, const struct sockaddr_un *address) {
  struct stat made;
  mode_t mask = umask(0777);
  bool bound = !bind((int)listener->share.value, (const struct sockaddr *)address, sizeof *address);
  umask(mask);
  if (!bound || lstat(address->sun_path, &made))
    return false;
  listener->device = made.st_dev;
  listener->inode = made.st_ino;
  return true;
}

static bool let_in(const struct listener *listener, const struct listener_params *params) {
  if (params->group >= 0 && chown(params->path, (uid_t)-1, (gid_t)params->group))
    return false;
  return !chmod(params->path, params->mode ? (mode_t)params->mode : 0600) &&
         !listen((int)listener->share.value, BACKLOG);
}

/* Two names of one file. */
static bool same_file(const char *one, const char *other) {
  struct stat a, b;
  return !stat(one, &a) && !stat(other, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static enum status take_given(const struct listener_params *params, struct listener *out,
                              struct problem *problem) {
  struct share given = params->given;
  struct sockaddr_un address = {.sun_family = AF_UNSPEC};
  socklen_t n = sizeof address;
  int fd = (int)given.value, flags = fcntl(fd, F_GETFL);
  bool known = !getsockname(fd, (struct sockaddr *)&address, &n) && address.sun_family == AF_UNIX;
  char path[sizeof address.sun_path + 1] = "";
  if (known && n > offsetof(struct sockaddr_un, sun_path))
    memcpy(path, address.sun_path, n - offsetof(struct sockaddr_un, sun_path));
  if (flags >= 0 && !fcntl(fd, F_SETFL, flags | O_NONBLOCK) && same_file(path, params->path)) {
    *out = (struct listener){.share = given};
    return STATUS_OK;
  }
  share_close(&given);
  return problem_field(
      problem, STATUS_INVALID_ARGUMENT, "socket",
      "the socket that was passed listens on %.108s, the configuration says %.108s", path,
      params->path);
}

enum status listener_open(const struct listener_params *params, struct listener *out,
                          struct problem *problem) {
  struct sockaddr_un address;
  if (params->given.kind != SHARE_NONE)
    return take_given(params, out, problem);
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
  struct listener listener = {.share = {SHARE_FILE, fd}};
  if (!bind_to(&listener, &address) || !let_in(&listener, params)) {
    status = refuse(problem, params->path);
    listener_close(&listener, params->path);
    return status;
  }
  *out = listener;
  return STATUS_OK;
}

void listener_close(struct listener *listener, const char *path) {
  struct stat there;
  if (listener->inode && !lstat(path, &there) && there.st_dev == listener->device &&
      there.st_ino == listener->inode)
    unlink(path);
  share_close(&listener->share);
}

static bool ask_who(int fd, struct listener_peer *peer) {
  struct ucred who;
  socklen_t n = sizeof who;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n))
    return false;
  *peer = (struct listener_peer){who.uid, who.pid};
  return true;
}

bool listener_accept(const struct listener *listener, struct share *client,
                     struct listener_peer *peer) {
  for (;;) {
    int fd = accept4((int)listener->share.value, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
      continue;
    if (fd < 0)
      return false;
    *client = (struct share){SHARE_FILE, fd};
    if (ask_who(fd, peer))
      return true;
    log_warning("socket", "the kernel does not tell who a client is (%s): refused",
                strerror(errno));
    share_close(client);
  }
}

bool listener_client_left(const struct share *client) {
  struct pollfd end = {.fd = (int)client->value};
  return poll(&end, 1, 0) > 0;
}
