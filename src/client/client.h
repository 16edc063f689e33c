/*
 * client: a connection to the daemon's Unix socket that asks one thing at a time and waits for its
 * answer. One thread at a time.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/problem.h"
#include "base/share.h"

#define CLIENT_LINE_MAX ((size_t)4 << 20) /* of a question and of an answer */

struct client;

/* MEMKEEP_SOCKET, else memkeep.sock of this session (XDG_RUNTIME_DIR) if it is there, else that of
 * os_runtime_dir. INVALID_ARGUMENT: longer than size - 1. */
enum status client_default_path(char *out, size_t size);

/* A connected socket; the caller closes it. The problem says what to do. NOT_FOUND: no daemon
 * listens there. FORBIDDEN: it is not for us. INVALID_ARGUMENT: the path is too long. */
enum status client_open(const char *path, struct share *out, struct problem *problem);
/* The same, to ask on. */
enum status client_connect(const char *path, struct client **out, struct problem *problem);
/* NULL is fine. */
void client_free(struct client *client);

struct client_request {
  const char *action;
  const char *data;    /* a JSON object on one line; NULL: {} */
  const char *key;     /* idempotency key, NULL: none */
  bool envelope;       /* data and answer in camelCase, the answer as over HTTP */
  bool detached;       /* what it makes outlives this process */
  uint64_t timeout_ns; /* 0: as long as it takes */
};

/* Appends the answer, one JSON object without newline: a success or a refusal. WORKER_TIMEOUT: none
 * came in time. NOT_FOUND: the daemon closed the connection. After any failure of this function but
 * INVALID_ARGUMENT (the question is too long) the client is of no more use. */
enum status client_call(struct client *client, const struct client_request *request,
                        struct buf *answer, struct problem *problem);
/* Appends the next event as it came, one JSON object without newline; what else comes is dropped.
 * Fails as client_call does. */
enum status client_listen(struct client *client, uint64_t timeout_ns, struct buf *event,
                          struct problem *problem);
/* The next descriptor that came with an answer, the caller's to close; false: no more. */
bool client_take_share(struct client *client, struct share *out);

#endif
