/*
 * path: the target of a request, taken apart. It is split before it is decoded, so an escaped slash
 * or ampersand separates nothing. Pure; cuts the text in place.
 */
#ifndef HTTP_PATH_H
#define HTTP_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/problem.h"

#define PATH_SEGMENTS 16 /* more than any path of the table has; the rest is not looked at */
#define PATH_PAIRS 32    /* of the query; more are refused */

struct path_pair {
  const char *name, *value; /* decoded; value "" where there is none */
};

struct path {
  char *segments[PATH_SEGMENTS]; /* decoded; "/" is one empty segment */
  size_t count;
  bool broken; /* a segment has a broken escape, %00 or %2F and stands as it was sent: fine as an id
                  that names nothing, else a bad path */
  struct path_pair pairs[PATH_PAIRS];
  size_t pair_count;
};

/* INVALID_ARGUMENT: no path at all, or a query with a broken escape, %00, a name that comes twice,
 * too many names. *out then holds what was read so far. */
enum status path_split(char *target, struct path *out, struct problem *problem);
/* NULL: not there. */
const char *path_query(const struct path *path, const char *name);

#endif
