/*
 * server: the adapter of the HTTP library (libmicrohttpd): one epoll thread, connections come from
 * outside. The only file that includes the library; all of a request is called on its thread, in
 * the order begin, head, body …, run …, end. Where it says that a request was closed, `end` is
 * next.
 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/problem.h"
#include "http/drain.h"
#include "http/head.h"
#include "http/link.h"

struct server;
struct server_channel; /* a connection, with a request on it */

/* First member of what `begin` makes; the server's. */
struct server_request {
  struct server *server;
  struct server_channel *channel;
  struct link *link;
  const char *target; /* until the headers are there */
  size_t target_size;
  bool headed;
};

struct server_calls {
  void *arg;
  /* A request line came; `target` holds until the next call. NULL: close. */
  struct server_request *(*begin)(void *arg, const char *target);
  /* Its headers; they hold until `end`. May refuse it (server_refuse) before the body is read. */
  void (*head)(struct server_request *request, struct head *head);
  /* A part of the body. False: close without an answer. */
  bool (*body)(struct server_request *request, const char *data, size_t n);
  /* All is there: answer, stream or suspend. Again after each resume. False: close. */
  bool (*run)(struct server_request *request);
  /* Answered, or the connection is gone. */
  void (*end)(struct server_request *request);
};

struct server_params {
  struct server_calls calls;
  struct links *links;
  struct drain *drain;
  const char *certificate, *key; /* paths, NULL or "": no TLS */
};

struct server_header {
  const char *name, *value; /* copied */
};
#define SERVER_HEADERS 6

struct server_answer {
  int status;
  struct server_header headers[SERVER_HEADERS];
  size_t header_count;
  const char *body; /* stays as it is until `end` */
  size_t size;
};

/* INVALID_ARGUMENT: the certificate or the key cannot be used. */
enum status server_create(const struct server_params *params, struct server **out,
                          struct problem *problem);
/* Ends all requests and connections. What is suspended must be resumed before. NULL is fine. */
void server_free(struct server *server);
#define SERVER_EVENTS 128 /* that the library takes at a time */
/* Makes the library look at all it has; needed while SERVER_EVENTS sockets are open (server.c). Any
 * thread. */
void server_nudge(struct server *server);
/* Takes the fd; the link was opened for it, and is closed with it. Any thread. */
void server_add(struct server *server, int fd, const struct sockaddr *address, socklen_t size);

/* From run. */
bool server_answer(struct server_request *request, const struct server_answer *answer);
/* From head: answers at once and closes; the body is not read. */
void server_refuse(struct server_request *request, struct server_answer *answer);
/* From run: an answer without end. `read` gives 1..max bytes, 0 after server_suspend, -1 at the
 * end. `answer` has no body. */
typedef ssize_t server_read_fn(struct server_request *request, char *out, size_t max);
bool server_stream(struct server_request *request, const struct server_answer *answer,
                   server_read_fn *read);
/* From run or read, which then return true or 0. */
void server_suspend(struct server_request *request);
/* Any thread, once for each suspend. */
void server_resume(struct server_request *request);

#endif
