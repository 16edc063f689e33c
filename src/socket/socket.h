/*
 * socket: the Unix-socket door: JSON lines, every operation under its action name (contract 5).
 *
 *   {"request_id":"r-1","action":"memory.free","data":{"allocation_id":"a-…"}}
 *
 * request_id, if there is one, is a string of at most 256 bytes. Beside these three a line may hold
 * `idempotency_key`, `correlation_id`, `deadline_ms`, `fds`, and
 *   "envelope":true   the answer as HTTP gives it, camelCase in data and answer; request_id is
 *                     echoed only if there was one
 *   "detached":true   asked for the peer's domain and not for its process: what is made outlives
 *                     it, and is not attached
 *   "brief":true      memory.allocate answers with the allocation's id and its attachment only,
 *                     memory.free with nothing: what a program needs that uses the memory
 * and no other member, but for `event`. A line over 4 MiB is the last that
 * is read. Of whom shuts down its sending side, all is answered that was read before; then the
 * connection is closed. `ping` answers nothing, at once. Who the peer is, the kernel says.
 *
 * An answer that hands memory out says `"fds":n` and carries them. What a client has attached ends
 * with its connection, but not when it is the door that closes: the next daemon takes it over.
 *
 * After memory.events, events come unasked for as long as the connection lives, also to a client
 * that sends no more; asked for once more, they are others. A client that does not read them is
 * dropped when it has missed some.
 *
 * A client that sends {"event":"hello",…} is a worker from then on (contract 5): lines of its
 * without `action` are what it says as one.
 *
 * Who sends more requests than `rate` is told RATE_LIMITED, and when to come back; his connections,
 * and what they have attached, stay.
 *
 * Requests of one connection run side by side; answers come in any order. Loop thread only, but for
 * create and free, which want the loop not to run.
 */
#ifndef SOCKET_SOCKET_H
#define SOCKET_SOCKET_H

#include "base/loop.h"
#include "ops/ops.h"

struct socket;

struct connection;

/* What is known of workers elsewhere, and is asked here. Loop thread. */
struct socket_hello {
  struct connection *connection; /* for socket_say and socket_hang_up, until `left` */
  int32_t pid;                   /* 0: unknown */
  struct reader_value line;      /* borrowed */
};
struct socket_workers {
  /* OK: *worker stands for the client from now on. Else the client is told why and the connection
   * closed. */
  enum status (*hello)(void *ctx, const struct socket_hello *hello, void **worker,
                       struct problem *problem);
  /* A line that is no request. */
  void (*heard)(void *worker, struct reader_value line);
  /* Its connection ends, or the door closes: it hears nothing more. */
  void (*left)(void *worker);
};
#define SOCKET_SAID ((size_t)8 << 20) /* bytes that wait for one worker at most (contract 8) */
/* One line, without newline. False: nothing more will reach it, also because it does not read;
 * `left` follows, but not at once. */
bool socket_say(struct connection *connection, const char *text, size_t n);
/* Closes the connection: `left` follows, but not at once. */
void socket_hang_up(struct connection *connection);

struct socket_params {
  struct loop *loop;
  struct ops *ops;
  const char *path;   /* at most OS_RUNTIME_SOCKET_MAX bytes */
  uint32_t mode;      /* of the socket file; 0: 0600 */
  int64_t group;      /* its gid; -1: as the process has it */
  struct share given; /* SHARE_NONE, or a socket that listens at `path` already: taken, its file is
                         left as it is */
  unsigned rate;      /* requests a second of one user who is no admin, at most RATE_MAX; 0: any */
  const struct socket_workers *workers; /* NULL: nobody becomes one */
  void *workers_ctx;
};

/* Binds; the file of a daemon that is dead is replaced. INVALID_ARGUMENT: the path or the group
 * cannot be. CONFLICT: somebody listens there, or the file is no socket. */
enum status socket_create(const struct socket_params *params, struct socket **out,
                          struct problem *problem);
enum status socket_start(struct socket *door);
/* Takes no more requests, lets go of workers and ends events. done(arg) when those under way are
 * answered, at the latest after a second. */
void socket_stop(struct socket *door, void (*done)(void *arg), void *arg);
/* Closes what is left; calls that ops still has are freed when ops gives them back. NULL is fine.
 */
void socket_free(struct socket *door);

#endif
