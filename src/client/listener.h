/*
 * listener: a connection and a thread on which the daemon speaks unasked. It comes back by itself
 * after a restart, and says its greeting again.
 */
#ifndef CLIENT_LISTENER_H
#define CLIENT_LISTENER_H

#include "client/failure.h"

struct listener;

struct listener_params {
  const char *path;     /* of the socket; copied */
  const char *greeting; /* the first line of each connection, without newline; copied */
  bool answered;        /* the greeting is a request: its success comes before all else */
  /* Each line that came; on the listener's thread. */
  void (*line)(void *arg, struct listener *listener, struct reader_value root);
  void (*again)(void *arg); /* connected again; NULL: no matter */
  void *arg;
};

/* Connects and greets on the calling thread, so that a refusal is told here. */
enum mk_code listener_create(const struct listener_params *params, struct listener **out,
                             struct failure *failure);
/* Waits for a callback that runs, and for the thread. NULL is fine. */
void listener_free(struct listener *listener);
/* True on the thread of any listener. */
bool listener_is_here(void);
/* From within `line`. A connection that cannot take it is given up. */
void listener_send(struct listener *listener, const char *text, size_t n);

#endif
