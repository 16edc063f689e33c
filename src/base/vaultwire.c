/*
 * vaultwire: one struct is one message. Nothing here trusts the other side: a message that is
 * shorter than its header or its entries, of an unknown kind, or that came with its descriptors cut
 * off is refused, and what came with it is closed.
 */
#include "base/vaultwire.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

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
  while (size < 0 && errno == EINTR);
  if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
    return STATUS_RATE_LIMITED;
  if (size <= 0)
    return STATUS_NOT_FOUND;
  unsigned came = detach(&header, shares);
  if (!(header.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) && is_sound(message, (size_t)size)) {
    *count = came;
    return STATUS_OK;
  }
  while (came)
    share_close(&shares[--came]);
  return STATUS_INTERNAL_ERROR;
}
