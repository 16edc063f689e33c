/*
 * stream: events as Server-Sent Events. A stream reads the ring of events at its own pace; when it
 * has read all, its connection sleeps. Nobody waits for a reader: one that falls behind the ring is
 * told how much it lost, one that takes nothing is ended by link.h.
 */
#ifndef HTTP_STREAM_H
#define HTTP_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/problem.h"
#include "http/server.h"
#include "ops/ops.h"

struct stream;
struct streams;

struct stream_params {
  struct ops *ops;
  unsigned cap;
  uint64_t comment_ms;     /* silence after which a comment is sent */
  void (*wake)(void *arg); /* any thread, short: makes somebody call stream_tend soon */
  void *arg;
};

enum status stream_create(const struct stream_params *params, struct streams **out);
/* From here on events wake it; there is no way back. */
enum status stream_listen(struct streams *streams);
/* No stream is open, and no event can be added once it listens. NULL is fine. */
void stream_free(struct streams *streams);
/* Wakes who has something to say; some times a second, and after `wake`. */
void stream_tend(struct streams *streams, uint64_t now_ms);
/* Ends all, now and later. */
void stream_stop(struct streams *streams);

/* `call` chooses events and outlives the stream; last_event_id is the header's text or NULL: as the
 * call says, else only what is to come. RATE_LIMITED above the cap, INVALID_ARGUMENT for an id that
 * is none. */
enum status stream_open(struct streams *streams, const struct ops_call *call,
                        const char *last_event_id, struct stream **out, struct problem *problem);
/* For server_stream. */
ssize_t stream_read(struct stream *stream, struct server_request *request, char *out, size_t max);
/* NULL is fine. */
void stream_close(struct stream *stream);

#endif
