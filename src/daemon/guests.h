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
struct views;
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
/* The one that the task names. False: it is not here, or cannot do that now. */
bool guests_submit(struct guests *guests, struct mover_task *task);
void guests_tell(struct guests *guests, const struct buf *line);
/* They add themselves. */
void guests_view(const struct guests *guests, struct views *views);
/* talk_look's. */
void guests_look(struct guests *guests);
/* One of them is being asked how it is. */
bool guests_looks(const struct guests *guests);

#endif
