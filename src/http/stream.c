/*
 * stream: to sleep without missing an event, a stream first goes to sleep and then looks once more;
 * if there is something after all, whoever is first wakes it, once (`waiting`, under the lock).
 *
 * `armed` says that somebody sleeps, so that an event costs nothing while nobody listens; `news`
 * says that an event came since.
 */
#include "http/stream.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "service/events.h"
#include "service/service.h"

#define PENDING_CAP ((size_t)64 << 10) /* a part as the server asks for it, and one event */
#define LOOK_MS 500                    /* between two looks for clients that have left */
#define LOOKED_AT_ONCE 4096            /* events, before other connections have their turn */

struct streams {
  struct lock lock;
  struct stream *head;
  unsigned count;
  bool ending;
  atomic_bool armed, news;
  atomic_ullong now_ms;
  uint64_t looked_ms;
  struct events *events;
  struct stream_params params;
};

struct stream {
  struct stream *next, *previous;
  struct streams *streams;
  const struct ops_call *call;
  struct server_request *request; /* while it waits */
  uint64_t after;                 /* the last event looked at */
  uint64_t quiet_since_ms;
  bool waiting, greet, restarted;
  bool left; /* the client; it had nothing more to say, so its end is that */
  struct buf pending;
  size_t taken; /* of pending */
};

static void on_event(void *arg) {
  struct streams *streams = arg;
  if (!atomic_load_explicit(&streams->armed, memory_order_relaxed) ||
      !atomic_exchange(&streams->armed, false))
    return;
  atomic_store(&streams->news, true);
  streams->params.wake(streams->params.arg);
}

enum status stream_create(const struct stream_params *params, struct streams **out) {
  struct streams *streams = calloc(1, sizeof *streams);
  if (!streams)
    return STATUS_INTERNAL_ERROR;
  streams->params = *params;
  streams->events = service_events(ops_service(params->ops));
  lock_init(&streams->lock, LOCK_RANK_DOOR, "streams");
  *out = streams;
  return STATUS_OK;
}

enum status stream_listen(struct streams *streams) {
  return events_listen(streams->events, on_event, streams);
}

void stream_free(struct streams *streams) {
  if (!streams)
    return;
  events_leave(streams->events, streams); /* work that goes on adds some until its threads end */
  lock_done(&streams->lock);
  free(streams);
}

/* Under the lock. */
static void rouse(struct stream *stream) {
  if (!stream->waiting)
    return;
  stream->waiting = false;
  server_resume(stream->request);
}

void stream_tend(struct streams *streams, uint64_t now_ms) {
  bool news = atomic_exchange(&streams->news, false);
  LOCK_SCOPE(&streams->lock);
  streams->now_ms = now_ms;
  bool look = now_ms - streams->looked_ms >= LOOK_MS;
  if (look)
    streams->looked_ms = now_ms;
  for (struct stream *stream = streams->head; stream; stream = stream->next) {
    if (!stream->waiting)
      continue;
    stream->greet = now_ms - stream->quiet_since_ms >= streams->params.comment_ms;
    stream->left = look && link_is_at_its_end(stream->request->link);
    if (news || stream->greet || stream->left)
      rouse(stream);
  }
}

void stream_stop(struct streams *streams) {
  LOCK_SCOPE(&streams->lock);
  streams->ending = true;
  for (struct stream *stream = streams->head; stream; stream = stream->next)
    rouse(stream);
}

/* ---- one stream ---- */

static enum status choose_start(struct stream *stream, const char *last_event_id,
                                struct problem *problem) {
  uint64_t last = events_last(stream->streams->events);
  stream->after = last;
  if (last_event_id) {
    size_t n = strspn(last_event_id, "0123456789");
    if (!n || n > 19 || last_event_id[n])
      return problem_field(problem, STATUS_INVALID_ARGUMENT, "Last-Event-ID",
                           "Last-Event-ID must be the id of an event");
    stream->after = strtoull(last_event_id, NULL, 10);
  } else if (!ops_event_after(stream->call, &stream->after)) {
    return STATUS_OK;
  }
  if (stream->after > last) { /* of an earlier daemon: all of ours is new to them */
    stream->after = 0;
    stream->restarted = true;
  }
  return STATUS_OK;
}

static bool enter(struct stream *stream) {
  struct streams *streams = stream->streams;
  LOCK_SCOPE(&streams->lock);
  if (streams->count >= streams->params.cap)
    return false;
  streams->count++;
  stream->next = streams->head;
  if (stream->next)
    stream->next->previous = stream;
  streams->head = stream;
  return true;
}

enum status stream_open(struct streams *streams, const struct ops_call *call,
                        const char *last_event_id, struct stream **out, struct problem *problem) {
  struct stream *stream = calloc(1, sizeof *stream);
  if (!stream)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "out of memory");
  stream->streams = streams;
  stream->call = call;
  stream->greet = true; /* so that the headers go out at once */
  buf_init(&stream->pending, PENDING_CAP);
  enum status status = choose_start(stream, last_event_id, problem);
  if (!status && !enter(stream))
    status = problem_set(problem, STATUS_RATE_LIMITED, "%u event streams are open already",
                         streams->params.cap);
  if (status) {
    free(stream);
    return status;
  }
  *out = stream;
  return STATUS_OK;
}

void stream_close(struct stream *stream) {
  if (!stream)
    return;
  struct streams *streams = stream->streams;
  lock_take(&streams->lock);
  streams->count--;
  if (stream->next)
    stream->next->previous = stream->previous;
  if (stream->previous)
    stream->previous->next = stream->next;
  else
    streams->head = stream->next;
  lock_give(&streams->lock);
  buf_done(&stream->pending);
  free(stream);
}

/* `before`: the id of the event before which they are missing. lost 0: nobody knows how many. */
static void write_lost(struct buf *out, uint64_t before, uint64_t lost) {
  buf_print(out, "id: %llu\nevent: events.lost\ndata: ", (unsigned long long)before - 1);
  ops_event_lost(lost, WRITER_CAMEL, out);
  buf_add(out, "\n\n", 2);
}

static void write_event(const struct stream *stream, const struct events_record *event,
                        struct buf *out) {
  buf_print(out, "id: %llu\nevent: %s\ndata: ", (unsigned long long)event->id,
            events_word(event->type));
  ops_event(stream->streams->params.ops, event, WRITER_CAMEL, out);
  buf_add(out, "\n\n", 2);
}

static void gather(struct stream *stream, size_t enough) {
  struct buf *out = &stream->pending;
  struct events_record event;
  uint64_t lost;
  unsigned looked = 0;
  if (stream->greet)
    buf_add(out, ":\n\n", 3);
  stream->greet = false;
  for (; out->size < enough && looked < LOOKED_AT_ONCE; looked++) {
    if (!events_next(stream->streams->events, stream->after, &event, &lost))
      return;
    if (lost || stream->restarted)
      write_lost(out, event.id, stream->restarted ? 0 : lost);
    stream->restarted = false;
    stream->after = event.id;
    if (ops_event_wanted(stream->call, &event))
      write_event(stream, &event, out);
  }
  if (!out->size)
    buf_add(out, ":\n\n", 3); /* there may be more, and 0 bytes would mean that we sleep */
}

static ssize_t wait(struct stream *stream, struct server_request *request) {
  struct streams *streams = stream->streams;
  lock_take(&streams->lock);
  bool ending = streams->ending;
  if (!ending) {
    stream->request = request;
    stream->quiet_since_ms = streams->now_ms;
    stream->waiting = true;
    atomic_store(&streams->armed, true);
    server_suspend(request);
  }
  lock_give(&streams->lock);
  if (ending)
    return -1;
  if (events_last(streams->events) > stream->after) {
    LOCK_SCOPE(&streams->lock);
    rouse(stream);
  }
  return 0;
}

ssize_t stream_read(struct stream *stream, struct server_request *request, char *out, size_t max) {
  struct buf *pending = &stream->pending;
  if (stream->left)
    return -1;
  if (stream->taken == pending->size) {
    buf_reset(pending);
    stream->taken = 0;
    gather(stream, max < PENDING_CAP / 2 ? max : PENDING_CAP / 2);
  }
  if (pending->failed)
    return -1;
  size_t n = pending->size - stream->taken;
  if (n == 0)
    return wait(stream, request);
  if (n > max)
    n = max;
  memcpy(out, pending->data + stream->taken, n);
  stream->taken += n;
  return (ssize_t)n;
}
