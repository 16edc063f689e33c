/*
 * feed: `armed` says that somebody has read all there was, so that an event costs nothing while
 * nobody listens. It is set before the ring is looked at: what comes in between wakes us again.
 */
#include "socket/feed.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "service/events.h"
#include "service/service.h"

#define PIECE ((size_t)64 << 10) /* sent at once */
#define PIECE_CAP (2 * PIECE)    /* it ends with the event that reaches the size */
#define LOOKED_AT_ONCE 4096      /* events, before others have their turn */

struct feeds {
  struct task wake; /* first: the loop's */
  struct feed_params params;
  struct events *events;
  struct feed *head;
  unsigned count;
  atomic_bool armed;
};

struct feed {
  struct feed *next, *previous;
  struct feeds *feeds;
  struct feed_reader reader;
  uint64_t after; /* the last event looked at */
  bool late,
      restarted; /* nothing was looked at yet; and what it begins behind was another life's */
};

/* Any thread, under the lock of events. */
static void on_event(void *arg) {
  struct feeds *feeds = arg;
  if (atomic_load_explicit(&feeds->armed, memory_order_relaxed) &&
      atomic_exchange(&feeds->armed, false))
    loop_post(feeds->params.loop, &feeds->wake);
}

static void wake(struct task *task) {
  struct feeds *feeds = (struct feeds *)task;
  atomic_store(&feeds->armed, feeds->head != NULL);
  for (struct feed *feed = feeds->head, *next; feed; feed = next) {
    next = feed->next;
    feeds->params.news(feed->reader.connection);
  }
}

enum status feed_create(const struct feed_params *params, struct feeds **out) {
  struct feeds *feeds = calloc(1, sizeof *feeds);
  if (!feeds)
    return STATUS_INTERNAL_ERROR;
  feeds->params = *params;
  feeds->wake.run = wake;
  *out = feeds;
  return STATUS_OK;
}

enum status feed_listen(struct feeds *feeds) {
  feeds->events = service_events(ops_service(feeds->params.ops));
  return events_listen(feeds->events, on_event, feeds);
}

void feed_free(struct feeds *feeds) {
  if (feeds && feeds->events)
    events_leave(feeds->events, feeds); /* work that goes on adds some until its threads end */
  free(feeds);
}

/* ---- one feed ---- */

static void choose_start(struct feed *feed) {
  uint64_t last = events_last(feed->feeds->events);
  feed->after = last;
  feed->late = ops_event_after(request_call(feed->reader.request), &feed->after);
  feed->restarted = feed->after > last;
  if (feed->restarted)
    feed->after = 0; /* of an earlier daemon: all of ours is new to them */
}

enum status feed_open(struct feeds *feeds, const struct feed_reader *reader, struct feed **out,
                      struct problem *problem) {
  struct feed *feed = feeds->count < feeds->params.cap ? calloc(1, sizeof *feed) : NULL;
  if (!feed && feeds->count >= feeds->params.cap)
    return problem_set(problem, STATUS_RATE_LIMITED, "%u connections ask for events already",
                       feeds->params.cap);
  if (!feed)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "out of memory");
  *feed = (struct feed){.feeds = feeds, .reader = *reader, .next = feeds->head};
  choose_start(feed);
  if (feed->next)
    feed->next->previous = feed;
  feeds->head = feed;
  feeds->count++;
  atomic_store(&feeds->armed, true);
  *out = feed;
  return STATUS_OK;
}

void feed_close(struct feed *feed) {
  if (!feed)
    return;
  struct feeds *feeds = feed->feeds;
  if (feed->next)
    feed->next->previous = feed->previous;
  if (feed->previous)
    feed->previous->next = feed->next;
  else
    feeds->head = feed->next;
  feeds->count--;
  request_free(feed->reader.request);
  free(feed);
}

static void open_line(struct buf *out, const char *type, uint64_t id) {
  buf_print(out, "%s{\"event\":\"%s\",\"id\":%llu,\"data\":", out->size ? "\n" : "", type,
            (unsigned long long)id);
}

static void add(struct feed *feed, const struct events_record *event, uint64_t lost,
                struct buf *out) {
  const struct ops_call *call = request_call(feed->reader.request);
  if (lost || feed->restarted) {
    open_line(out, "events.lost", event->id - 1);
    ops_event_lost(feed->restarted ? 0 : lost, call->names, out);
    buf_add(out, "}", 1);
  }
  feed->late = feed->restarted = false;
  feed->after = event->id;
  if (ops_event_wanted(call, event)) {
    open_line(out, events_word((enum events_type)event->type), event->id);
    ops_event(feed->feeds->params.ops, event, call->names, out);
    buf_add(out, "}", 1);
  }
}

/* The next event, unless there is none (`all`) or its reader has missed some. */
static enum status next(struct feed *feed, struct buf *out, bool *all) {
  struct events_record event;
  uint64_t lost;
  *all = !events_next(feed->feeds->events, feed->after, &event, &lost);
  if (*all)
    return STATUS_OK;
  if (lost && !feed->late)
    return STATUS_RATE_LIMITED;
  if (!line_wants_write(feed->reader.line))
    add(feed, &event, lost, out);
  return STATUS_OK;
}

/* A piece; nothing while the last one waits. */
static enum status tell_piece(struct feed *feed, unsigned *left, bool *all) {
  struct buf piece BUF_CLEANUP;
  enum status status = STATUS_OK;
  buf_init(&piece, PIECE_CAP);
  do
    status = next(feed, &piece, all);
  while (!status && !*all && --*left && piece.size < PIECE && !line_wants_write(feed->reader.line));
  if (!status && piece.size)
    status = line_send(feed->reader.line, piece.data, piece.size, NULL, 0);
  return status;
}

enum status feed_tell(struct feed *feed) {
  unsigned left = LOOKED_AT_ONCE;
  bool all = false;
  enum status status = STATUS_OK;
  do
    status = tell_piece(feed, &left, &all);
  while (!status && !all && left && !line_wants_write(feed->reader.line));
  if (!left)
    loop_post(feed->feeds->params.loop, &feed->feeds->wake);
  return status;
}
