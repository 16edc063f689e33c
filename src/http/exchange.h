/*
 * exchange: one request and its answer: what the server brings becomes a struct ops_call, what ops
 * says becomes an answer. An exchange outlives its connection where an operation is still under
 * way: hanging up cancels nothing but a wait for memory.
 */
#ifndef HTTP_EXCHANGE_H
#define HTTP_EXCHANGE_H

#include "base/rate.h"
#include "http/auth.h"
#include "http/guard.h"
#include "http/server.h"
#include "http/stream.h"
#include "ops/ops.h"

struct exchanges;

struct exchange_params { /* all outlive the server that calls */
  struct ops *ops;
  struct auth *auth;
  const struct guard *guard;
  struct streams *streams;
  struct rate *rate; /* the server's thread only */
};

enum status exchange_create(const struct exchange_params *params, struct exchanges **out);
/* What a server calls. */
struct server_calls exchange_calls(struct exchanges *exchanges);
/* Looks for clients who hung up while they wait for memory, at most once a second. Any thread. */
void exchange_tend(struct exchanges *exchanges, uint64_t now_ms);
/* Wakes all that wait for ops, and lets nobody wait any more: they are closed without an answer. */
void exchange_stop(struct exchanges *exchanges);
/* After the server. Calls that ops still has are freed when ops gives them back. NULL is fine. */
void exchange_free(struct exchanges *exchanges);

#endif
