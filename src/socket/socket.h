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
 * it, and is not attached and no other member, but for `event`. A line over 4 MiB is the last that
 * is read. Of whom shuts down its sending side, all is answered that was read before; then the
 * connection is closed. `ping` answers nothing, at once. Who the peer is, the kernel says.
 *
 * An answer that hands memory out says `"fds":n` and carries them. What a client has attached ends
 * with its connection, but not when it is the door that closes: the next daemon takes it over.
 *
 * Requests of one connection run side by side; answers come in any order. Loop thread only, but for
 * create and free, which want the loop not to run.
 */
#ifndef SOCKET_SOCKET_H
#define SOCKET_SOCKET_H

#include "base/loop.h"
#include "ops/ops.h"

struct socket;

struct socket_params {
  struct loop *loop;
  struct ops *ops;
  const char *path; /* at most OS_RUNTIME_SOCKET_MAX bytes */
  uint32_t mode;    /* of the socket file; 0: 0600 */
  int64_t group;    /* its gid; -1: as the process has it */
};

/* Binds; the file of a daemon that is dead is replaced. INVALID_ARGUMENT: the path or the group
 * cannot be. CONFLICT: somebody listens there, or the file is no socket. */
enum status socket_create(const struct socket_params *params, struct socket **out,
                          struct problem *problem);
enum status socket_start(struct socket *door);
/* Takes no more requests. done(arg) when those under way are answered, at the latest after a
 * second. */
void socket_stop(struct socket *door, void (*done)(void *arg), void *arg);
/* Closes what is left; calls that ops still has are freed when ops gives them back. NULL is fine.
 */
void socket_free(struct socket *door);

#endif
