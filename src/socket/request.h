/*
 * request: one line that asks something, from its text to its answer's. It belongs to a connection
 * as long as that lives; afterwards it goes on alone and its answer is dropped.
 */
#ifndef SOCKET_REQUEST_H
#define SOCKET_REQUEST_H

#include "base/rate.h"
#include "ops/ops.h"

struct request;

struct request_answer {
  const char *text;
  size_t size;
  const struct share *shares; /* go with it */
  unsigned share_count;
};

struct request_params {
  struct ops *ops;
  const struct caller *caller; /* the connection's */
  struct rate *rate;           /* of those who are no admin */
  /* A line announced so many descriptors: out has OPS_SHARES places, and those that are taken are
   * the request's to close. False: they are not there, and the line is not run. */
  bool (*take_shares)(void *arg, uint64_t announced, struct share *out);
  /* A line without `action`. True: it was no request; where *problem is set the client is told so.
   * NULL: it is one in any case, and refused. */
  bool (*unasked)(void *arg, struct reader_value line, struct problem *problem);
  /* It asks for events, and its answer follows. OK: keep it for request_free. NULL: there are none.
   */
  enum status (*follow)(void *arg, struct request *request, struct problem *problem);
  /* The call of the request with this id; NULL: none is. NULL: nothing can be cancelled. */
  struct ops_call *(*under_way)(void *arg, const char *id);
  /* The answer is ready, and borrowed. Loop thread; also from within request_run. */
  void (*answer)(void *arg, struct request *request, const struct request_answer *answer);
  void *arg;
  struct loop *loop; /* through which answers of other threads come */
  uint64_t number;   /* of the line in its connection, from 1 */
};

/* Runs a line (n bytes). False: there is no memory for it, and the client waits for its answer in
 * vain: end the connection. *out: NULL, it was answered; else it is under way: keep it for
 * request_let_go. */
bool request_run(const struct request_params *params, const char *text, size_t n,
                 struct request **out);
/* Answers a line that cannot be run at all. */
void request_refuse(const struct request_params *params, const struct problem *problem);
/* The connection is gone. `client_left`: what it attaches yet is detached again; else, when the
 * door closes, that is left to the next daemon. */
void request_let_go(struct request *request, bool client_left);
/* The call of the one with that id in the connection's list; NULL: there is none. */
struct ops_call *request_find(struct request *first, const char *id);
/* One that `follow` kept. */
const struct ops_call *request_call(const struct request *request);
void request_free(struct request *request);
/* For the connection's list. */
struct request **request_link(struct request *request);

#endif
