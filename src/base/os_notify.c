/*
 * os_notify: sd_notify(3) and sd_listen_fds(3) without their library. To notify is one datagram to
 * the socket that $NOTIFY_SOCKET names, "@" standing for the NUL of the abstract name space. What
 * is passed begins at descriptor 3 and is meant for the process whose id is $LISTEN_PID: a child
 * that inherits the variables is not it.
 */
#include "base/os_notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define PASSED_FIRST 3 /* sd_listen_fds(3) */
#define PASSED_MAX 64  /* a unit of ours passes one */

void os_notify(const char *state) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t n = path ? strlen(path) : 0;
  if (!n)
    return;
  if (n >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) {
    log_warning("notify", "NOTIFY_SOCKET is no address: %.120s", path);
    return;
  }
  memcpy(address.sun_path, path, n);
  if (path[0] == '@')
    address.sun_path[0] = '\0';
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ssize_t sent =
      sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address, size);
  if (sent < 0)
    log_warning("notify", "systemd cannot be told %s: %s", state, strerrordesc_np(errno));
  if (fd >= 0)
    close(fd);
}

static int take_count(void) {
  const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
  bool ours = pid && fds && strtol(pid, NULL, 10) == (long)getpid();
  long count = ours ? strtol(fds, NULL, 10) : 0;
  unsetenv("LISTEN_PID");
  unsetenv("LISTEN_FDS");
  unsetenv("LISTEN_FDNAMES");
  return count < 0 ? 0 : count > PASSED_MAX ? PASSED_MAX : (int)count;
}

static bool has_option(int fd, int option, int expected) {
  int value = -1;
  socklen_t size = sizeof value;
  return !getsockopt(fd, SOL_SOCKET, option, &value, &size) && value == expected;
}

struct share os_notify_socket(void) {
  struct share found = {.kind = SHARE_NONE};
  int count = take_count();
  for (int fd = PASSED_FIRST; fd < PASSED_FIRST + count; fd++) {
    bool listens = has_option(fd, SO_DOMAIN, AF_UNIX) && has_option(fd, SO_TYPE, SOCK_STREAM) &&
                   has_option(fd, SO_ACCEPTCONN, 1);
    if (listens && found.kind == SHARE_NONE && !fcntl(fd, F_SETFD, FD_CLOEXEC)) {
      found = (struct share){SHARE_FILE, fd};
    } else {
      log_warning("notify", "descriptor %d from systemd is %s: closed", fd,
                  listens ? "one socket too many" : "no Unix socket that listens");
      close(fd);
    }
  }
  return found;
}
