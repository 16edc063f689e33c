/*
 * gate: above the cap a connection gets its 503 from here, so that the library's own limit is never
 * reached. When the process is out of descriptors the listener rests for a tick.
 */
#include "http/gate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <netinet/in.h>

#include "base/clock.h"
#include "base/log.h"

#define BACKLOG 1024

struct gate {
  int listener, wake;
  uint16_t port;
  bool running, resting, told;
  atomic_bool ending;
  pthread_t thread;
  struct gate_params with;
};

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

static socklen_t parse(const char *text, uint16_t port, union address *out) {
  memset(out, 0, sizeof *out);
  if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons(port);
    return sizeof out->v4;
  }
  if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) != 1)
    return 0;
  out->v6.sin6_family = AF_INET6;
  out->v6.sin6_port = htons(port);
  return sizeof out->v6;
}

static bool listen_on(struct gate *gate, const union address *at, socklen_t size) {
  const int on = 1;
  union address got = {.any = {0}};
  socklen_t n = sizeof got;
  gate->listener = socket(at->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (gate->listener < 0)
    return false;
  setsockopt(gate->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (at->any.sa_family == AF_INET6)
    setsockopt(gate->listener, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (bind(gate->listener, &at->any, size) || listen(gate->listener, BACKLOG) ||
      getsockname(gate->listener, &got.any, &n))
    return false;
  gate->port = ntohs(got.any.sa_family == AF_INET ? got.v4.sin_port : got.v6.sin6_port);
  return true;
}

static enum status explain(int error, const char *address, uint16_t port, struct problem *problem) {
  switch (error) {
  case EADDRINUSE:
    return problem_set(problem, STATUS_CONFLICT,
                       "%s port %u is in use: stop who listens there, or listen on another port",
                       address, port);
  case EADDRNOTAVAIL:
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s is no address of this host", address);
  case EACCES:
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "port %u needs privileges: listen on one from 1024 up", port);
  default:
    return problem_set(problem, STATUS_INTERNAL_ERROR, "cannot listen on %s port %u: error %d",
                       address, port, error);
  }
}

enum status gate_create(const char *address, uint16_t port, struct gate **out,
                        struct problem *problem) {
  union address at;
  socklen_t size = parse(address, port, &at);
  if (!size)
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "%.60s is no numeric address, such as 127.0.0.1 or ::1", address);
  struct gate *gate = calloc(1, sizeof *gate);
  if (!gate)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "out of memory");
  gate->listener = -1;
  gate->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (gate->wake < 0 || !listen_on(gate, &at, size)) {
    explain(errno, address, port, problem);
    gate_free(gate);
    return problem->status;
  }
  *out = gate;
  return STATUS_OK;
}

uint16_t gate_port(const struct gate *gate) { return gate->port; }

/* ---- the thread ---- */

static void turn_away(struct gate *gate, int fd) {
  static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\n"
                               "Retry-After: 1\r\n"
                               "Content-Length: 0\r\n"
                               "Connection: close\r\n\r\n";
  (void)!send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  shutdown(fd, SHUT_WR);
  drain_take(gate->with.drain, fd);
}

static void admit(struct gate *gate, int fd, const struct sockaddr *from, socklen_t size) {
  struct peer peer = {.reason = "the connection was made while tokens were configured"};
  if (auth_wants_peer(gate->with.auth))
    peer_look(fd, &peer);
  if (link_open(gate->with.links, fd, &peer))
    server_add(gate->with.server, fd, from, size);
  else
    turn_away(gate, fd);
}

static void accept_all(struct gate *gate) {
  union address from;
  for (;;) {
    socklen_t size = sizeof from;
    int fd = accept4(gate->listener, &from.any, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      admit(gate, fd, &from.any, size);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED)
      continue;
    gate->resting = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    if (gate->resting && !gate->told)
      log_warning("http", "out of descriptors or memory: new connections wait");
    gate->told = gate->resting;
    return;
  }
}

static void look(struct gate *gate) {
  uint64_t now_ms = clock_now() / CLOCK_MS;
  if (link_tick(gate->with.links, now_ms) + 1 >= SERVER_EVENTS)
    server_nudge(gate->with.server);
  drain_look(gate->with.drain, now_ms);
  stream_tend(gate->with.streams, now_ms);
  exchange_tend(gate->with.exchanges, now_ms);
}

static void *run(void *arg) {
  struct gate *gate = arg;
  struct pollfd fds[2 + DRAIN_MAX];
  while (!atomic_load(&gate->ending)) {
    uint64_t count;
    fds[0] = (struct pollfd){.fd = gate->wake, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = gate->resting ? -1 : gate->listener, .events = POLLIN};
    gate->resting = false;
    unsigned n = drain_poll(gate->with.drain, fds + 2);
    poll(fds, 2 + n, (int)gate->with.tick_ms);
    if (fds[0].revents)
      (void)!read(gate->wake, &count, sizeof count);
    if (fds[1].revents)
      accept_all(gate);
    look(gate);
  }
  return NULL;
}

enum status gate_start(struct gate *gate, const struct gate_params *params) {
  gate->with = *params;
  look(gate);
  if (pthread_create(&gate->thread, NULL, run, gate))
    return STATUS_INTERNAL_ERROR;
  pthread_setname_np(gate->thread, "http-gate");
  gate->running = true;
  return STATUS_OK;
}

void gate_wake(void *gate) {
  const uint64_t one = 1;
  (void)!write(((struct gate *)gate)->wake, &one, sizeof one);
}

void gate_stop(struct gate *gate) {
  if (!gate->running)
    return;
  atomic_store(&gate->ending, true);
  gate_wake(gate);
  pthread_join(gate->thread, NULL);
  gate->running = false;
  close(gate->listener);
  gate->listener = -1;
}

void gate_free(struct gate *gate) {
  if (!gate)
    return;
  gate_stop(gate);
  if (gate->listener >= 0)
    close(gate->listener);
  if (gate->wake >= 0)
    close(gate->wake);
  free(gate);
}
