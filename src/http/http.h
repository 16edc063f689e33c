/*
 * http: the HTTP door of the daemon: bytes <-> ops. Two threads of its own: one that runs requests
 * (the library's, never waits) and one that accepts, keeps deadlines and wakes event streams.
 *
 * Who may do what: with tokens, what the bearer token's role says; without, a loopback connection
 * has all roles if the kernel says that the other end belongs to the daemon's uid or root.
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/status.h"
#include "ops/ops.h"
#include "service/caller.h"

struct http;

#define HTTP_TOKENS 64 /* at one time */

struct http_token {
  char name[32];    /* shown as the domain "token:NAME"; unique */
  char secret[256]; /* what a client sends after "Bearer "; or "" and */
  enum caller_role role;
  char sha256[65]; /* its SHA-256 as 64 hex digits, so that no file need hold the secret */
};

/* 0 in a member: the default. */
struct http_limits {
  unsigned connections; /* 4096; above: 503 and closed */
  unsigned streams;     /* 256; above: 429 */
  uint64_t idle_ms;     /* 60,000: from an answer (or connect) to the next request line */
  uint64_t receive_ms;  /* 30,000: from the request line to the end of the body */
  uint64_t send_ms;     /* 30,000: for an answer to be taken; for a stream, between two reads */
  uint64_t comment_ms;  /* 15,000: a quiet stream says that it lives */
  unsigned rate;        /* none: requests a second of one caller, at most RATE_MAX; else 429 */
};

/* All is copied but ops. */
struct http_params {
  struct ops *ops;                 /* lives until http_stop */
  const char *address;             /* numeric, "127.0.0.1" or "::1" */
  uint16_t port;                   /* 0: any free one */
  const struct http_token *tokens; /* none: loopback addresses only */
  unsigned token_count;
  const char *const *hosts; /* names in Host beside the loopback ones and `address` */
  unsigned host_count;
  const char *certificate, *key; /* paths of PEM files: TLS; both NULL or "": none */
  struct http_limits limits;
};

/* Binds; nothing is answered before http_start. CONFLICT: the address is taken. INVALID_ARGUMENT:
 * it cannot be had, no tokens for it, a certificate that cannot be used. */
enum status http_create(const struct http_params *params, struct http **out,
                        struct problem *problem);
/* The port that was bound. */
uint16_t http_port(const struct http *http);
/* Serves from now on. INTERNAL_ERROR: out of threads or memory. */
enum status http_start(struct http *http);
/* Any thread, at any time (SIGHUP). A name keeps its domain for the life of the daemon. Refused as
 * in http_create; then the old ones stay. */
enum status http_set_tokens(struct http *http, const struct http_token *tokens, unsigned count,
                            struct problem *problem);
/* No connection lives when this returns. Calls that are under way are abandoned: ops still owns
 * them and may call their `done` at any later time, also after http_free. */
void http_stop(struct http *http);
/* After http_stop and after service_free: the service's events wake it until then. It touches
 * neither ops nor service. Stops it if it runs (then ops must live); NULL is fine. */
void http_free(struct http *http);

#endif
