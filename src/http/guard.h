/*
 * guard: what keeps a page in somebody's browser from driving the daemon. A page can make a browser
 * send requests here, but not without its Origin, not with a Host of ours after it has bound its
 * own name to 127.0.0.1, and not with a JSON content type unless a CORS header allowed it; none is
 * ever sent. Pure.
 */
#ifndef HTTP_GUARD_H
#define HTTP_GUARD_H

#include <stdbool.h>

#include "base/problem.h"
#include "http/head.h"

struct guard {
  char *const *hosts; /* beside loopback names and addresses; without port, IPv6 in brackets */
  unsigned count;
};

/* Whether a Host header is one of ours, whatever its port. */
bool guard_host(const struct guard *guard, const char *host);
/* HOST_NOT_ALLOWED, ORIGIN_NOT_ALLOWED, or UNSUPPORTED_MEDIA_TYPE: a request that changes something
 * must have no body or one of JSON, and no body is ever decompressed. */
enum status guard_check(const struct guard *guard, const struct head *head,
                        struct problem *problem);

#endif
