/*
 * link: the connections there are, who is at their other end, and how long each may still take for
 * what it is at. The library's own limit is of inactivity; one byte every few seconds would hold a
 * connection for ever. It also misses an end that arrives together with the last bytes (0.9.75), so
 * that is looked for here.
 */
#ifndef HTTP_LINK_H
#define HTTP_LINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "http/http.h"
#include "http/peer.h"

enum link_phase {
  LINK_IDLE,      /* until a request line is there */
  LINK_RECEIVING, /* until the end of the body */
  LINK_WORKING,   /* no deadline */
  LINK_SENDING,   /* until the answer is taken */
  LINK_PHASES
};

struct link {
  struct link *next, *previous;
  int fd;
  struct peer peer;
  uint64_t left_since; /* 0, or `since` when the other end was first seen to have left */
  bool arrived;        /* the server has it */
  atomic_uint phase;   /* enum link_phase */
  atomic_ullong since; /* ms on the clock of struct links */
  struct links *links;
};

struct links {
  struct lock lock;
  struct link *head;
  unsigned count, cap;
  uint64_t allowed_ms[LINK_PHASES]; /* 0: for ever */
  uint64_t looked_ms;               /* when ends were last looked for */
  atomic_ullong now_ms;             /* as of the last links_tick: no clock is read per request */
};

void link_init(struct links *links, const struct http_limits *limits);
/* Forgets those that are left. */
void link_done(struct links *links);
/* A connection that was accepted; NULL above the cap or without memory. */
struct link *link_open(struct links *links, int fd, const struct peer *peer);
/* The one that was opened with that fd and has not arrived yet; NULL: none. */
struct link *link_arrive(struct links *links, int fd);
/* Before the fd is closed; NULL is fine. */
void link_close(struct link *link);
void link_enter(struct link *link, enum link_phase phase);
/* Its other end says no more; its last words may be unread, such as a TLS farewell. */
bool link_has_hung_up(const struct link *link);
/* Its other end says no more, and all that it said was read. */
bool link_is_at_its_end(const struct link *link);
/* Shuts down what is over its time, and what can say no more while we wait for a request; how many
 * there are. */
unsigned link_tick(struct links *links, uint64_t now_ms);
/* If there are as many, shuts all down; whether there were. */
bool link_end_crowd(struct links *links, unsigned crowd);

#endif
