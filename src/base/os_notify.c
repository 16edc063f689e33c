/*
 * os_notify: sd_notify(3) without its library: the protocol is one datagram to the socket that
 * $NOTIFY_SOCKET names, "@" standing for the NUL of the abstract name space.
 */
#include "base/os_notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

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
