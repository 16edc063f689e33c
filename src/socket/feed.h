/*
 * feed: events told on the connections that asked for them:
 *   {"event":"allocation.created","id":17,"data":{…}}
 * A feed reads the ring of events at its own pace, so what waits for a slow reader is the ring, and
 * of ours no more than one piece. Loop thread only, but for create and free.
 */
#ifndef SOCKET_FEED_H
#define SOCKET_FEED_H

#include "base/line.h"
#include "base/loop.h"
#include "socket/request.h"

struct feed;
struct feeds;

struct feed_params {
  struct loop *loop;
  struct ops *ops;
  unsigned cap;
  /* There are events, or more of them: feed_tell. May close the feed. */
  void (*news)(void *connection);
};

enum status feed_create(const struct feed_params *params, struct feeds **out);
/* From here on events wake it; there is no way back. */
enum status feed_listen(struct feeds *feeds);
/* No feed is open, and no event can be added once it listens. NULL is fine. */
void feed_free(struct feeds *feeds);

/* A request on the row that streams, answered or about to be; the feed's once it is open. `line` is
 * borrowed. RATE_LIMITED above the cap. */
struct feed_reader {
  struct request *request;
  struct line *line;
  void *connection;
};
enum status feed_open(struct feeds *feeds, const struct feed_reader *reader, struct feed **out,
                      struct problem *problem);
/* Tells what there is and the line takes. RATE_LIMITED: the reader fell so far behind that events
 * are lost. INTERNAL_ERROR: the line is broken. */
enum status feed_tell(struct feed *feed);
/* NULL is fine. */
void feed_close(struct feed *feed);

#endif
