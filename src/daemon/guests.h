/*
 * guests: workers that came by themselves, through the socket (contract 5). They are not ours to
 * start, to restart or to kill: one whose connection ends is gone. No descriptors reach them, so
 * they never move bytes. Loop thread only.
 */
#ifndef DAEMON_GUESTS_H
#define DAEMON_GUESTS_H

#include "base/loop.h"
#include "daemon/clearing.h"
#include "daemon/wire.h"
#include "socket/socket.h"

struct guests;
struct events;

#define GUESTS_MAX 16

struct guests_params {
  struct loop *loop;
  struct events *events;
  const struct wire_initialize *initialize;      /* borrowed; may change */
  bool (*is_taken)(void *arg, const char *name); /* by a worker of ours */
  void (*changed)(void *arg);                    /* the view did */
  void *arg;
};

enum status guests_create(const struct guests_params *params, struct guests **out);
/* All have left. NULL is fine. */
void guests_free(struct guests *guests);
/* For the door; its ctx is the struct guests. */
const struct socket_workers *guests_table(void);

void guests_clear(struct guests *guests, struct clearing *clearing);
void guests_tell(struct guests *guests, const struct buf *line);
uint32_t guests_view(const struct guests *guests, struct view_worker *out, uint32_t max);

#endif
