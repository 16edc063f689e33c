/*
 * packet: sendmsg and recvmsg with SCM_RIGHTS. A truncated control message has lost a descriptor:
 * that is an error, never ignored. An empty message looks like the end of the stream, so none is
 * sent; one that brings descriptors is told apart by them.
 */
#include "base/packet.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/units.h"

#define MANY 8 /* descriptors that a misbehaving peer may send at once; they are all closed */

enum status packet_pair(struct share *ours, struct share *theirs) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
    return STATUS_INTERNAL_ERROR;
  *ours = (struct share){SHARE_FILE, ends[0]};
  *theirs = (struct share){SHARE_FILE, ends[1]};
  return STATUS_OK;
}

enum status packet_inherited(const char *number, struct share *out) {
  char *end;
  long fd = number ? strtol(number, &end, 10) : -1;
  if (fd < 3 || fd > 1023 || *end || fcntl((int)fd, F_SETFD, FD_CLOEXEC))
    return STATUS_NOT_FOUND;
  *out = (struct share){SHARE_FILE, fd};
  return STATUS_OK;
}

enum status packet_send(const struct share *end, const char *text, size_t n,
                        const struct share *share) {
  if (!n || n > PACKET_TEXT)
    return STATUS_INVALID_ARGUMENT;
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct iovec iov = {(void *)(uintptr_t)text, n};
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
  if (share && share->kind != SHARE_NONE) {
    int fd = (int)share->value;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  }
  ssize_t sent;
  do
    sent = sendmsg((int)end->value, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent == (ssize_t)n)
    return STATUS_OK;
  bool full = errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS;
  return sent < 0 && full ? STATUS_RATE_LIMITED : STATUS_INTERNAL_ERROR;
}

/* How many descriptors came; the first is kept, any other closed. */
static size_t take_descriptors(struct msghdr *message, struct share *share) {
  size_t taken = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
      continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      struct share found = {SHARE_FILE, fd};
      if (!taken++)
        *share = found;
      else
        share_close(&found);
    }
  }
  return taken;
}

enum status packet_receive(const struct share *end, char text[PACKET_TEXT + 1],
                           struct share *share) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(MANY * sizeof(int))];
  } control;
  struct iovec iov = {text, PACKET_TEXT};
  struct msghdr message = {.msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes};
  struct share found = {SHARE_NONE, 0};
  ssize_t n;
  do
    n = recvmsg((int)end->value, &message, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0)
    return STATUS_NOT_FOUND;
  size_t taken = take_descriptors(&message, &found);
  if (!n && !taken)
    return STATUS_NOT_FOUND;
  if (!n || taken > 1 || message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
    share_close(&found);
    return STATUS_INTERNAL_ERROR;
  }
  text[n] = 0;
  *share = found;
  return STATUS_OK;
}

bool packet_wait(const struct share *end, uint64_t deadline_ns) {
  struct pollfd wait = {.fd = (int)end->value, .events = POLLIN};
  for (;;) {
    uint64_t left_ms = units_minus(deadline_ns, clock_now()) / CLOCK_MS;
    if (poll(&wait, 1, (int)units_min(left_ms, INT_MAX)) > 0)
      return true;
    if (!left_ms)
      return false;
  }
}
