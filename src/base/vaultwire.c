/*
 * vaultwire: one struct is one message. Nothing here trusts the other side: a message that is
 * shorter than its header or its entries, of an unknown kind, or that came with its descriptors cut
 * off is refused, and what came with it is closed.
 *
 * A peer that died with answers of ours unread leaves ECONNRESET. Linux reports it once, ahead of
 * what the peer had sent and is still to be read; so it is passed over.
 */
#include "base/vaultwire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define HEAD offsetof(struct vaultwire, entries)

union control {
  struct cmsghdr align;
  char space[CMSG_SPACE(VAULTWIRE_BATCH * sizeof(int))];
};

static size_t length(const struct vaultwire *message) {
  return HEAD + message->count * sizeof *message->entries;
}

static void attach(struct msghdr *header, union control *control, const struct share *shares,
                   unsigned count) {
  int fds[VAULTWIRE_BATCH] = {0};
  for (unsigned i = 0; i < count; i++)
    fds[i] = (int)shares[i].value;
  memset(control, 0, sizeof *control);
  header->msg_control = control;
  header->msg_controllen = CMSG_SPACE(count * sizeof(int));
  struct cmsghdr *piece = CMSG_FIRSTHDR(header);
  piece->cmsg_level = SOL_SOCKET;
  piece->cmsg_type = SCM_RIGHTS;
  piece->cmsg_len = CMSG_LEN(count * sizeof(int));
  memcpy(CMSG_DATA(piece), fds, count * sizeof(int));
}

enum status vaultwire_send(const struct share *end, struct vaultwire *message,
                           const struct share *shares, unsigned count) {
  message->magic = VAULTWIRE_MAGIC;
  struct iovec part = {message, length(message)};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  union control control;
  if (count)
    attach(&header, &control, shares, count);
  ssize_t sent;
  do
    sent = sendmsg((int)end->value, &header, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent >= 0)
    return STATUS_OK;
  bool full = errno == EAGAIN || errno == EWOULDBLOCK || errno == ETOOMANYREFS || errno == ENOBUFS;
  return full ? STATUS_RATE_LIMITED : STATUS_NOT_FOUND;
}

static unsigned detach(struct msghdr *header, struct share *shares) {
  unsigned count = 0;
  for (struct cmsghdr *piece = CMSG_FIRSTHDR(header); piece; piece = CMSG_NXTHDR(header, piece)) {
    if (piece->cmsg_level != SOL_SOCKET || piece->cmsg_type != SCM_RIGHTS)
      continue;
    size_t n = (piece->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    int fds[VAULTWIRE_BATCH];
    memcpy(fds, CMSG_DATA(piece), n * sizeof(int));
    for (size_t i = 0; i < n; i++)
      shares[count++] = (struct share){SHARE_FILE, fds[i]};
  }
  return count;
}

static bool is_sound(const struct vaultwire *message, size_t size) {
  return size >= HEAD && message->magic == VAULTWIRE_MAGIC && message->kind >= VAULTWIRE_HELLO &&
         message->kind < VAULTWIRE_KINDS && message->count <= VAULTWIRE_BATCH &&
         size == length(message);
}

enum status vaultwire_receive(const struct share *end, struct vaultwire *message,
                              struct share *shares, unsigned *count) {
  union control control;
  struct iovec part = {message, sizeof *message};
  struct msghdr header = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t size;
  do
    size = recvmsg((int)end->value, &header, MSG_CMSG_CLOEXEC);
  while (size < 0 && (errno == EINTR || errno == ECONNRESET));
  if (size < 0)
    return errno == EAGAIN || errno == EWOULDBLOCK ? STATUS_RATE_LIMITED : STATUS_NOT_FOUND;
  unsigned came = detach(&header, shares);
  if (!size && !came)
    return STATUS_NOT_FOUND;
  if (!(header.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) && is_sound(message, (size_t)size)) {
    *count = came;
    return STATUS_OK;
  }
  while (came)
    share_close(&shares[--came]);
  return STATUS_INTERNAL_ERROR;
}

enum status vaultwire_ask(const struct share *end, struct vaultwire *message, struct share *shares,
                          unsigned *count) {
  enum status status = vaultwire_send(end, message, NULL, 0);
  return status ? status : vaultwire_receive(end, message, shares, count);
}

/* ---- the connection ---- */

enum status vaultwire_connect(const char *runtime_dir, unsigned timeout_ms, struct share *out) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const struct timeval limit = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000};
  size_t n = (size_t)snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", runtime_dir,
                              VAULTWIRE_SOCKET);
  if (n >= sizeof address.sun_path)
    return STATUS_INVALID_ARGUMENT;
  struct share end = {SHARE_FILE, socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  int fd = (int)end.value;
  if (fd < 0)
    return STATUS_INTERNAL_ERROR;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (!connect(fd, (const struct sockaddr *)&address, sizeof address)) {
    *out = end;
    return STATUS_OK;
  }
  share_close(&end);
  return STATUS_NOT_FOUND;
}

bool vaultwire_is_locked(const char *runtime_dir) {
  char path[4096];
  if ((size_t)snprintf(path, sizeof path, "%s/%s", runtime_dir, VAULTWIRE_LOCK) >= sizeof path)
    return false;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  bool locked = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
  if (fd >= 0)
    close(fd);
  return locked;
}

void vaultwire_peer(const struct share *end, struct spawn_child *out) {
  struct ucred peer;
  socklen_t n = sizeof peer;
  *out = (struct spawn_child){.pid = 0};
  if (getsockopt((int)end->value, SOL_SOCKET, SO_PEERCRED, &peer, &n))
    return;
  int pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
  if (pidfd >= 0)
    *out = (struct spawn_child){peer.pid, pidfd};
}

void vaultwire_wait(const struct share *end, enum vaultwire_event event, unsigned timeout_ms) {
  struct pollfd ready = {.fd = (int)end->value,
                         .events = event == VAULTWIRE_ROOM ? POLLOUT : POLLIN};
  poll(&ready, 1, (int)timeout_ms);
}

/* It closes its stdout when it listens. */
static enum status start(const struct vaultwire_reach *reach, struct spawn_child *child) {
  const char *argv[] = {reach->program, "--runtime-dir", reach->runtime_dir, NULL};
  int ready[2];
  if (pipe2(ready, O_CLOEXEC))
    return STATUS_INTERNAL_ERROR;
  struct spawn_params spawn = {.argv = argv,
                               .stdin_fd = -1,
                               .stdout_fd = ready[1],
                               .stderr_fd = -1,
                               .third_fd = -1,
                               .session = true};
  enum status status = spawn_start(&spawn, child);
  close(ready[1]);
  struct pollfd end = {.fd = ready[0], .events = POLLIN};
  if (!status && poll(&end, 1, (int)reach->timeout_ms) != 1)
    status = STATUS_RATE_LIMITED;
  close(ready[0]);
  return status;
}

enum status vaultwire_reach(const struct vaultwire_reach *reach, struct share *out,
                            struct spawn_child *child) {
  enum status status = vaultwire_connect(reach->runtime_dir, reach->timeout_ms, out);
  if (status != STATUS_NOT_FOUND)
    return status;
  if (!reach->program || vaultwire_is_locked(reach->runtime_dir))
    return STATUS_RATE_LIMITED;
  status = start(reach, child);
  if (!status)
    status = vaultwire_connect(reach->runtime_dir, reach->timeout_ms, out);
  return status == STATUS_NOT_FOUND && child->pid ? STATUS_RATE_LIMITED : status;
}
