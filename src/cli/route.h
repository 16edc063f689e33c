/*
 * route: an operation and its `data` as a request of HTTP, by the routes that the build made from
 * ops' own table (gen/cli_routes.h).
 */
#ifndef CLI_ROUTE_H
#define CLI_ROUTE_H

#include "base/buf.h"
#include "base/problem.h"

struct route {
  const char *method;
  struct buf target; /* path and query, NUL-terminated */
  struct buf body;   /* JSON; empty: none */
};

/* `data` is a JSON object in camelCase. Of an action's routes that one is taken whose path names
 * most of what `data` has. INVALID_ARGUMENT: it lacks what they all name.
 * METHOD_NOT_ALLOWED: the action has none. route_done it, also after a failure. */
enum status route_make(const char *action, const char *data, struct route *out,
                       struct problem *problem);
void route_done(struct route *route);

#endif
