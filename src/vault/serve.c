/*
 * serve: one daemon at a time. What a dead one had sent is still in the socket, and is read to its
 * end before the next connection is accepted; so no promise is lost, whatever became of the one who
 * made it. For the same reason nothing ends the reading but the end: where an answer cannot be
 * delivered or a message is none of the protocol, only our own talking ends (shutdown), which tells
 * a living daemon to connect again.
 *
 * RELEASE is obeyed only while its sender is there to hear of it: a question that nobody waits for
 * any more must not cost a byte.
 */
#include "vault/serve.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define SERVE_PATIENCE 5 /* seconds for a daemon to read an answer */

static int fd_of(const struct share *share) { return (int)share->value; }

static bool happens(const struct share *end, short events) {
  struct pollfd wait = {.fd = fd_of(end), .events = events};
  return poll(&wait, 1, 0) > 0;
}

static void hang_up(const struct serve *serve) { shutdown(fd_of(&serve->peer), SHUT_WR); }

static void answer(const struct serve *serve, struct vaultwire *message,
                   const struct share *shares) {
  if (vaultwire_send(&serve->peer, message, shares, shares ? message->count : 0))
    hang_up(serve);
}

/* Of kind HELLO, STATUS or LISTED. */
static struct vaultwire about_all(const struct serve *serve, uint16_t kind) {
  const struct table *table = &serve->table;
  return (struct vaultwire){.kind = kind,
                            .ledger = {table->ledger[0], table->ledger[1]},
                            .total = table->live,
                            .bytes = table->bytes};
}

static void tell(const struct serve *serve, uint16_t kind) {
  struct vaultwire message = about_all(serve, kind);
  answer(serve, &message, NULL);
}

static void list(const struct serve *serve, uint64_t cursor) {
  struct vaultwire message = about_all(serve, VAULTWIRE_LISTED);
  struct share shares[VAULTWIRE_BATCH];
  table_list(&serve->table, cursor, &message, shares);
  answer(serve, &message, shares);
}

static void put(struct serve *serve, const struct vaultwire *message, struct share *share) {
  struct vaultwire refusal = {
      .kind = VAULTWIRE_REFUSED, .count = 1, .entries = {message->entries[0]}};
  if (!table_put(&serve->table, message->entries, share)) {
    answer(serve, &refusal, NULL);
    return;
  }
  if (!message->entries[0].id)
    memcpy(serve->table.ledger, message->ledger, sizeof message->ledger);
}

static void drop(struct serve *serve, uint64_t id) {
  struct vaultwire message = {.kind = VAULTWIRE_DROPPED, .count = 1, .entries = {{.id = id}}};
  table_drop(&serve->table, id);
  answer(serve, &message, NULL);
}

static void release(struct serve *serve) {
  if (happens(&serve->peer, POLLRDHUP))
    return;
  table_release(&serve->table);
  serve->released = true;
  tell(serve, VAULTWIRE_RELEASED);
}

/* False: no message that a daemon sends. */
static bool obey(struct serve *serve, const struct vaultwire *message, struct share *shares,
                 unsigned count) {
  bool has_entry = message->kind == VAULTWIRE_PUT || message->kind == VAULTWIRE_DROP;
  if (message->count != has_entry || count != (message->kind == VAULTWIRE_PUT))
    return false;
  switch (message->kind) {
  case VAULTWIRE_PUT:
    put(serve, message, shares);
    return true;
  case VAULTWIRE_DROP:
    drop(serve, message->entries[0].id);
    return true;
  case VAULTWIRE_LIST:
    list(serve, message->cursor);
    return true;
  case VAULTWIRE_RELEASE:
    release(serve);
    return true;
  case VAULTWIRE_HELLO:
  case VAULTWIRE_STATUS:
    tell(serve, message->kind);
    return true;
  default:
    return false;
  }
}

bool serve_hear(struct serve *serve) {
  struct vaultwire message = {.kind = 0};
  struct share shares[VAULTWIRE_BATCH];
  unsigned count = 0;
  enum status status = vaultwire_receive(&serve->peer, &message, shares, &count);
  if (status == STATUS_NOT_FOUND)
    return false;
  if (status || !obey(serve, &message, shares, count))
    hang_up(serve);
  for (unsigned i = 0; i < count; i++)
    share_close(&shares[i]);
  return !serve->released;
}

/* Of our user, or root's. */
static bool is_ours(int fd) {
  struct ucred peer;
  socklen_t n = sizeof peer;
  return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) &&
         (peer.uid == geteuid() || peer.uid == 0);
}

static void greet(struct serve *serve, const struct share *listener) {
  const struct timeval patience = {.tv_sec = SERVE_PATIENCE};
  int fd = accept4(fd_of(listener), NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0)
    return;
  if (!is_ours(fd) || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience)) {
    close(fd);
    return;
  }
  serve->peer = (struct share){SHARE_FILE, fd};
}

static bool is_needed(const struct serve *serve, const struct share *listener) {
  if (serve->released)
    return false;
  return serve->stays || serve->table.live || happens(listener, POLLIN);
}

void serve_run(struct serve *serve, const struct share *listener) {
  do {
    while (serve->peer.kind == SHARE_NONE)
      greet(serve, listener);
    while (serve_hear(serve))
      ;
    share_close(&serve->peer);
  } while (is_needed(serve, listener));
}
