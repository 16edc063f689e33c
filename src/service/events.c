/*
 * events: a ring under a lock of its own. The id of an event is its place: slot = id modulo the
 * ring's size, so that finding one by id, resuming a stream and following an allocation's chain
 * back are all one array access.
 */
#include "service/events.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/pool.h"

#define EVENTS_LISTENERS 4

struct events {
  struct lock lock;
  struct pool ring; /* addressed by place, never taken from */
  uint64_t last;
  struct {
    void (*wake)(void *arg);
    void *arg;
  } listeners[EVENTS_LISTENERS];
  unsigned listener_count;
  void (*keep)(void *arg, const struct events_record *event);
  void *keep_arg;
};

static const char *const words[] = {
#define X(name, word) word,
    EVENTS_TABLE(X)
#undef X
};

const char *events_word(enum events_type type) {
  return (unsigned)type < EVENTS_TYPES ? words[type] : "unknown";
}

void events_set_text(struct events_record *record, const char *text) {
  size_t n = strnlen(text, sizeof record->text - 1);
  memcpy(record->text, text, n);
  record->text[n] = 0;
}

enum status events_create(struct events **out) {
  struct events *events = calloc(1, sizeof *events);
  if (!events)
    return STATUS_INTERNAL_ERROR;
  /* Pages come with use: an idle daemon does not pay for the ring. */
  enum status status = pool_init(&events->ring, sizeof(struct events_record), EVENTS_KEPT);
  if (status) {
    free(events);
    return status;
  }
  lock_init(&events->lock, LOCK_RANK_EVENTS, "events");
  *out = events;
  return STATUS_OK;
}

void events_free(struct events *events) {
  if (!events)
    return;
  pool_done(&events->ring);
  lock_done(&events->lock);
  free(events);
}

static struct events_record *at(const struct events *events, uint64_t id) {
  return pool_at(&events->ring, 1 + (uint32_t)(id % EVENTS_KEPT));
}

static void add(struct events *events, struct events_record *records, uint32_t count) {
  uint64_t time = clock_real();
  LOCK_SCOPE(&events->lock);
  for (uint32_t i = 0; i < count; i++) {
    struct events_record *kept = at(events, ++events->last);
    *kept = records[i]; /* before the rest: to copy what was just written in parts, a core waits */
    kept->time = records[i].time = time;
    kept->id = records[i].id = events->last;
  }
  for (unsigned i = 0; i < events->listener_count; i++)
    events->listeners[i].wake(events->listeners[i].arg);
}

void events_add_some(struct events *events, struct events_record *records, uint32_t count) {
  add(events, records, count);
  for (uint32_t i = 0; events->keep && i < count; i++)
    events->keep(events->keep_arg, &records[i]);
}

uint64_t events_add(struct events *events, struct events_record *record) {
  events_add_some(events, record, 1);
  return record->id;
}

void events_record_to(struct events *events,
                      void (*keep)(void *arg, const struct events_record *event), void *arg) {
  events->keep = keep;
  events->keep_arg = arg;
}

static uint64_t oldest(const struct events *events) {
  return events->last >= EVENTS_KEPT ? events->last - EVENTS_KEPT + 1 : 1;
}

bool events_next(struct events *events, uint64_t after, struct events_record *out, uint64_t *lost) {
  LOCK_SCOPE(&events->lock);
  uint64_t id = after + 1, first = oldest(events);
  *lost = id < first ? first - id : 0;
  if (id < first)
    id = first;
  if (id > events->last)
    return false;
  *out = *at(events, id);
  return true;
}

bool events_at(struct events *events, uint64_t id, struct events_record *out) {
  LOCK_SCOPE(&events->lock);
  if (id < oldest(events) || id > events->last)
    return false;
  *out = *at(events, id);
  return true;
}

uint64_t events_last(struct events *events) {
  LOCK_SCOPE(&events->lock);
  return events->last;
}

enum status events_listen(struct events *events, void (*wake)(void *arg), void *arg) {
  LOCK_SCOPE(&events->lock);
  if (events->listener_count == EVENTS_LISTENERS)
    return STATUS_INTERNAL_ERROR;
  events->listeners[events->listener_count].wake = wake;
  events->listeners[events->listener_count++].arg = arg;
  return STATUS_OK;
}

void events_leave(struct events *events, const void *arg) {
  LOCK_SCOPE(&events->lock);
  unsigned i = 0;
  while (i < events->listener_count && events->listeners[i].arg != arg)
    i++;
  if (i < events->listener_count)
    events->listeners[i] = events->listeners[--events->listener_count];
}
