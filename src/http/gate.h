/*
 * gate: where connections come in: the listener and the one thread that accepts, asks who is at the
 * other end, holds the cap, and looks after deadlines, lingering connections, streams and who hung
 * up.
 */
#ifndef HTTP_GATE_H
#define HTTP_GATE_H

#include "http/auth.h"
#include "http/drain.h"
#include "http/exchange.h"
#include "http/link.h"
#include "http/server.h"
#include "http/stream.h"

struct gate;

struct gate_params { /* all outlive gate_stop */
  struct auth *auth;
  struct links *links;
  struct drain *drain;
  struct streams *streams;
  struct exchanges *exchanges;
  struct server *server;
  uint64_t tick_ms; /* how often deadlines are looked at */
};

/* Binds. CONFLICT: taken. INVALID_ARGUMENT: no numeric address, or not one of this host. */
enum status gate_create(const char *address, uint16_t port, struct gate **out,
                        struct problem *problem);
uint16_t gate_port(const struct gate *gate);
enum status gate_start(struct gate *gate, const struct gate_params *params);
/* Makes the thread look at once. `gate`: a struct gate. Any thread. */
void gate_wake(void *gate);
/* Closes the listener and ends the thread. */
void gate_stop(struct gate *gate);
/* NULL is fine. */
void gate_free(struct gate *gate);

#endif
