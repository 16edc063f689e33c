/*
 * http: the wiring of the room.
 *
 *   gate ── accepts ──> server ── calls ──> exchange ──> guard, path, auth, then ops
 *     looks after link (deadlines),             └ stream, which reads the ring of events
 *     drain and stream
 *
 * Stopping goes the way of a request: nothing new comes in, everybody who sleeps is woken to leave,
 * and the server ends what is left.
 */
#include "http/http.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "http/exchange.h"
#include "http/gate.h"

#define TICK_MS 250 /* at most; a quarter of the shortest limit, where that is shorter */
#define TICK_LEAST_MS 10
#define END_NAP_MS 10
#define END_MS 2000 /* for a crowd to leave before it is left to the server's end */

_Static_assert(RATE_CALLERS >= 2 * HTTP_TOKENS,
               "tokens that are replaced spend beside their successors");

struct http {
  struct http_limits limits;
  struct auth *auth;
  struct guard guard;
  char **hosts;
  struct gate *gate;
  struct links links;
  struct drain drain;
  struct streams *streams;
  struct rate rate;
  struct exchanges *exchanges;
  struct server *server;
};

static struct http_limits with_defaults(struct http_limits limits) {
  return (struct http_limits){
      .connections = limits.connections ? limits.connections : 4096,
      .streams = limits.streams ? limits.streams : 256,
      .idle_ms = limits.idle_ms ? limits.idle_ms : 60000,
      .receive_ms = limits.receive_ms ? limits.receive_ms : 30000,
      .send_ms = limits.send_ms ? limits.send_ms : 30000,
      .comment_ms = limits.comment_ms ? limits.comment_ms : 15000,
      .rate = limits.rate,
  };
}

static uint64_t tick(const struct http_limits *limits) {
  const uint64_t all[] = {limits->idle_ms, limits->receive_ms, limits->send_ms, limits->comment_ms};
  uint64_t least = TICK_MS;
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (all[i] / 4 < least)
      least = all[i] / 4;
  return least < TICK_LEAST_MS ? TICK_LEAST_MS : least;
}

static bool is_loopback(const char *address) {
  struct in_addr v4;
  return inet_pton(AF_INET, address, &v4) == 1 ? ntohl(v4.s_addr) >> 24 == 127
                                               : strcmp(address, "::1") == 0;
}

static char *host_of(const char *address) {
  bool v6 = strchr(address, ':');
  char *host;
  return asprintf(&host, "%s%s%s", v6 ? "[" : "", address, v6 ? "]" : "") < 0 ? NULL : host;
}

/* What was configured, and the address itself. */
static enum status copy_hosts(struct http *http, const struct http_params *params) {
  unsigned count = params->host_count + 1;
  http->hosts = calloc(count, sizeof *http->hosts);
  if (!http->hosts)
    return STATUS_INTERNAL_ERROR;
  http->guard = (struct guard){http->hosts, count};
  for (unsigned i = 0; i < count; i++) {
    http->hosts[i] = i ? strdup(params->hosts[i - 1]) : host_of(params->address);
    if (!http->hosts[i])
      return STATUS_INTERNAL_ERROR;
  }
  return STATUS_OK;
}

static enum status make_streams(struct http *http, struct ops *ops) {
  const struct stream_params params = {ops, http->limits.streams, http->limits.comment_ms,
                                       gate_wake, http->gate};
  return stream_create(&params, &http->streams);
}

static enum status make_exchanges(struct http *http, struct ops *ops) {
  const struct exchange_params params = {ops, http->auth, &http->guard, http->streams, &http->rate};
  return exchange_create(&params, &http->exchanges);
}

static enum status make_server(struct http *http, const struct http_params *params,
                               struct problem *problem) {
  const struct server_params with = {exchange_calls(http->exchanges), &http->links, &http->drain,
                                     params->certificate, params->key};
  return server_create(&with, &http->server, problem);
}

static enum status make(struct http *http, const struct http_params *params,
                        struct problem *problem) {
  enum status status = auth_create(is_loopback(params->address), &http->auth);
  if (status || copy_hosts(http, params))
    return problem_set(problem, STATUS_INTERNAL_ERROR, "out of memory");
  status = auth_set(http->auth, params->tokens, params->token_count, problem);
  if (!status)
    status = gate_create(params->address, params->port, &http->gate, problem);
  if (status)
    return status;
  if (make_streams(http, params->ops) || make_exchanges(http, params->ops))
    return problem_set(problem, STATUS_INTERNAL_ERROR, "out of memory");
  status = make_server(http, params, problem);
  if (!status && stream_listen(http->streams))
    status = problem_set(problem, STATUS_INTERNAL_ERROR, "too many listen to the events");
  return status;
}

enum status http_create(const struct http_params *params, struct http **out,
                        struct problem *problem) {
  struct http *http = calloc(1, sizeof *http);
  if (!http)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "out of memory");
  http->limits = with_defaults(params->limits);
  link_init(&http->links, &http->limits);
  drain_init(&http->drain);
  rate_init(&http->rate, http->limits.rate);
  enum status status = make(http, params, problem);
  if (status) {
    http_free(http);
    return status;
  }
  *out = http;
  return STATUS_OK;
}

uint16_t http_port(const struct http *http) { return gate_port(http->gate); }

enum status http_start(struct http *http) {
  const struct gate_params params = {http->auth,         &http->links,    &http->drain,
                                     http->streams,      http->exchanges, http->server,
                                     tick(&http->limits)};
  return gate_start(http->gate, &params);
}

enum status http_set_tokens(struct http *http, const struct http_token *tokens, unsigned count,
                            struct problem *problem) {
  return auth_set(http->auth, tokens, count, problem);
}

/* The server sleeps on as many ends as it takes at a time (server.c), and so through its own stop
 * when that comes with them. So a crowd goes first, while it can still be nudged. */
static void end_crowd(struct http *http) {
  const struct timespec nap = {.tv_nsec = END_NAP_MS * (long)CLOCK_MS};
  for (int i = 0; i < END_MS / END_NAP_MS; i++) {
    if (!link_end_crowd(&http->links, SERVER_EVENTS / 2))
      return;
    server_nudge(http->server);
    nanosleep(&nap, NULL);
  }
}

void http_stop(struct http *http) {
  if (!http->server)
    return;
  gate_stop(http->gate);
  stream_stop(http->streams);
  exchange_stop(http->exchanges);
  end_crowd(http);
  server_free(http->server);
  http->server = NULL;
}

void http_free(struct http *http) {
  if (!http)
    return;
  http_stop(http);
  exchange_free(http->exchanges);
  stream_free(http->streams);
  gate_free(http->gate);
  drain_done(&http->drain);
  link_done(&http->links);
  for (unsigned i = 0; http->hosts && i < http->guard.count; i++)
    free(http->hosts[i]);
  free(http->hosts);
  auth_free(http->auth);
  free(http);
}
