/*
 * bulletin: what happens here, told to the workers without being asked (contract 8, Worker wire):
 * pressure, what becomes of models, transfers at their start and end. It reads the service's events
 * like any other reader, and is silent while nothing happens. Loop thread only.
 */
#ifndef DAEMON_BULLETIN_H
#define DAEMON_BULLETIN_H

#include "base/buf.h"
#include "base/loop.h"

struct bulletin;
struct events_record;
struct service;

/* How long a worker has to answer pressure by itself, before models are parked for it. */
#define BULLETIN_DEADLINE_MS 2000

struct bulletin_params {
  struct loop *loop;
  struct service *service;
  void (*tell)(void *arg, const struct buf *line); /* one line, without newline */
  void *arg;
};

/* Tells what happens from here on. */
enum status bulletin_create(const struct bulletin_params *params, struct bulletin **out);
/* When no more events can come. NULL is fine. */
void bulletin_free(struct bulletin *bulletin);

#endif
