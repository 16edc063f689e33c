/*
 * link: phases are set by the server's thread and read by the gate's; the list is under a lock, so
 * that no fd is shut down after it was closed.
 */
#include "http/link.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define LOOK_MS 1000 /* costs a system call for each connection */

void link_init(struct links *links, const struct http_limits *limits) {
  *links = (struct links){
      .cap = limits->connections,
      .allowed_ms = {[LINK_IDLE] = limits->idle_ms,
                     [LINK_RECEIVING] = limits->receive_ms,
                     [LINK_SENDING] = limits->send_ms},
  };
  lock_init(&links->lock, LOCK_RANK_LEAF, "links");
}

void link_done(struct links *links) {
  for (struct link *link = links->head, *next; link; link = next) {
    next = link->next;
    free(link);
  }
  lock_done(&links->lock);
}

struct link *link_open(struct links *links, int fd, const struct peer *peer) {
  LOCK_SCOPE(&links->lock);
  struct link *link = links->count < links->cap ? calloc(1, sizeof *link) : NULL;
  if (!link)
    return NULL;
  link->fd = fd;
  link->peer = *peer;
  link->links = links;
  link->next = links->head;
  if (link->next)
    link->next->previous = link;
  links->head = link;
  links->count++;
  link_enter(link, LINK_IDLE);
  return link;
}

struct link *link_arrive(struct links *links, int fd) {
  LOCK_SCOPE(&links->lock);
  struct link *link = links->head; /* the newest: found soon */
  while (link && (link->arrived || link->fd != fd))
    link = link->next;
  if (link)
    link->arrived = true;
  return link;
}

static void forget(struct link *link) {
  if (link->next)
    link->next->previous = link->previous;
  if (link->previous)
    link->previous->next = link->next;
  else
    link->links->head = link->next;
  link->links->count--;
  free(link);
}

void link_close(struct link *link) {
  if (!link)
    return;
  LOCK_SCOPE(&link->links->lock);
  forget(link);
}

void link_enter(struct link *link, enum link_phase phase) {
  atomic_store_explicit(&link->since, link->links->now_ms, memory_order_relaxed);
  atomic_store_explicit(&link->phase, phase, memory_order_release);
}

static bool is_over(const struct links *links, const struct link *link, uint64_t now_ms) {
  uint64_t allowed = links->allowed_ms[atomic_load_explicit(&link->phase, memory_order_acquire)];
  return allowed && now_ms - link->since > allowed;
}

bool link_has_hung_up(const struct link *link) {
  struct pollfd one = {.fd = link->fd, .events = POLLRDHUP};
  return poll(&one, 1, 0) == 1;
}

bool link_is_at_its_end(const struct link *link) {
  int unread = 0;
  return link_has_hung_up(link) && !ioctl(link->fd, FIONREAD, &unread) && !unread;
}

/* Seen twice without a step between, so what was read last has long been looked at. */
static bool has_left(struct link *link) {
  enum link_phase phase = atomic_load_explicit(&link->phase, memory_order_acquire);
  uint64_t since = link->since;
  bool waits = phase == LINK_IDLE || phase == LINK_RECEIVING;
  if (!waits || !link->arrived || !link_is_at_its_end(link))
    return false;
  bool again = link->left_since == since;
  link->left_since = since;
  return again;
}

unsigned link_tick(struct links *links, uint64_t now_ms) {
  LOCK_SCOPE(&links->lock);
  bool look = now_ms - links->looked_ms >= LOOK_MS;
  if (look)
    links->looked_ms = now_ms;
  links->now_ms = now_ms;
  for (struct link *link = links->head, *next; link; link = next) {
    next = link->next;
    if (!is_over(links, link, now_ms) && !(look && has_left(link)))
      continue;
    if (link->arrived)
      shutdown(link->fd, SHUT_RDWR);
    else
      forget(link); /* the server had no memory for it and closed the fd */
  }
  return links->count;
}

bool link_end_crowd(struct links *links, unsigned crowd) {
  LOCK_SCOPE(&links->lock);
  if (links->count < crowd)
    return false;
  for (struct link *link = links->head; link; link = link->next)
    if (link->arrived)
      shutdown(link->fd, SHUT_RDWR);
  return true;
}
