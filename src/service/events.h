/*
 * events: what happened, in a ring of the last 65,536, with a lock of its own. Writers never wait
 * for readers; a reader who falls behind the ring has lost events and is told so (events_next skips
 * and says how many).
 */
#ifndef SERVICE_EVENTS_H
#define SERVICE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lock.h"
#include "base/status.h"

#define EVENTS_KEPT 65536

/* X(name, word) */
#define EVENTS_TABLE(X)                                                                            \
  X(ALLOCATION_CREATED, "allocation.created")                                                      \
  X(ALLOCATION_FREED, "allocation.freed")                                                          \
  X(ALLOCATION_MOVED, "allocation.moved")                                                          \
  X(ALLOCATION_EXPIRED, "allocation.expired")                                                      \
  X(ALLOCATION_FILLED, "allocation.filled")                                                        \
  X(ALLOCATION_COPIED, "allocation.copied")                                                        \
  X(ALLOCATION_ATTACHED, "allocation.attached")                                                    \
  X(ALLOCATION_DETACHED, "allocation.detached")                                                    \
  X(TRANSFER_STARTED, "transfer.started")                                                          \
  X(TRANSFER_COMPLETED, "transfer.completed")                                                      \
  X(TRANSFER_FAILED, "transfer.failed")                                                            \
  X(TRANSFER_CANCELLED, "transfer.cancelled")                                                      \
  X(MODEL_LOADING, "model.loading")                                                                \
  X(MODEL_READY, "model.ready")                                                                    \
  X(MODEL_PARKED, "model.parked")                                                                  \
  X(MODEL_UNLOADED, "model.unloaded")                                                              \
  X(MODEL_FAILED, "model.failed")                                                                  \
  X(PRESSURE_CHANGED, "pressure.changed")                                                          \
  X(WORKER_STARTED, "worker.started")                                                              \
  X(WORKER_READY, "worker.ready")                                                                  \
  X(WORKER_EXITED, "worker.exited")                                                                \
  X(DEVICE_CHANGED, "device.changed")                                                              \
  X(DEVICE_LOST, "device.lost")                                                                    \
  X(PREDICTION_MADE, "prediction.made")                                                            \
  X(PREDICTION_JUDGED, "prediction.judged")                                                        \
  X(PREDICTION_DISABLED, "prediction.disabled")                                                    \
  X(JOB_PROGRESS, "job.progress")

enum events_type {
#define X(name, word) EVENTS_##name,
  EVENTS_TABLE(X)
#undef X
      EVENTS_TYPES
};
const char *events_word(enum events_type type);

struct events_record { /* 120 bytes */
  uint64_t id;         /* counts from 1 in each daemon's life */
  uint64_t time;       /* CLOCK_REALTIME */
  uint64_t subject;    /* allocation, job or transfer id; 0 none */
  uint64_t bytes;      /* size (0: of one that is no more), or bytes done of a job */
  uint64_t other;      /* target allocation, or bytes total, or percent (hundredths), or the pid of
                          who attaches, 0: unknown */
  uint64_t before;     /* id of the event before this one about the same subject, 0: none */
  uint8_t type, device, other_device,
      detail;    /* device: index + 1, 0 none; detail: level, job state, purpose … by type */
  char text[65]; /* worker.*: the worker's id; else the correlation id of the request behind it */
};
void events_set_text(struct events_record *record, const char *text);

struct events;
enum status events_create(struct events **out);
void events_free(struct events *events);
/* Fills in id and time, wakes listeners; returns the id. Any thread; may be called under the state
 * lock. */
uint64_t events_add(struct events *events, struct events_record *record);
/* The same for some of one moment, in order: the ids are one after the other. */
void events_add_some(struct events *events, struct events_record *records, uint32_t count);
/* The first event with an id > after into *out; false: none yet. *lost counts the ones that were
 * overwritten. */
bool events_next(struct events *events, uint64_t after, struct events_record *out, uint64_t *lost);
bool events_at(struct events *events, uint64_t id, struct events_record *out);
uint64_t events_last(struct events *events);
/* Calls keep(arg, event) after each add, before it returns, no lock of the events' held: a push. At
 * most one, set before there are events. */
void events_record_to(struct events *events,
                      void (*keep)(void *arg, const struct events_record *event), void *arg);
/* Calls wake(arg) after an add, under the events lock (must be short: a post). At most 4
 * listeners. */
enum status events_listen(struct events *events, void (*wake)(void *arg), void *arg);
/* The listener with this arg is called no more, on any thread, once this returns. Harmless if there
 * is none. */
void events_leave(struct events *events, const void *arg);

#endif
