/*
 * bulletin: a table from types of events to lines. Allocations come and go by the hundred thousand
 * and are no news here, so the ring is read in batches: an event arms a timer, and what it finds
 * when it fires is told.
 */
#include "daemon/bulletin.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/id.h"
#include "base/writer.h"
#include "daemon/wire.h"
#include "service/alloc.h"
#include "service/events.h"
#include "service/job.h"
#include "service/model.h"
#include "service/report.h"
#include "service/service.h"

#define BULLETIN_BATCH_MS 10
#define BULLETIN_AT_ONCE 8192 /* events looked at, before others have their turn */

struct bulletin {
  struct task wake; /* first: the loop's */
  struct bulletin_params params;
  struct events *events;
  struct loop_timer *timer;
  uint64_t after; /* the last event looked at */
  atomic_bool armed;
};

static void write_device(struct writer *w, const char *key, const struct bulletin *bulletin,
                         uint8_t device) {
  const char *id = device ? report_device_id(bulletin->params.service, device - 1u) : NULL;
  writer_text(w, key, id); /* NULL: null */
}

static void write_pressure(const struct bulletin *bulletin, const struct events_record *event,
                           struct writer *w) {
  write_device(w, "deviceId", bulletin, event->device);
  writer_text(w, "level", pressure_name((enum pressure_level)event->detail));
  writer_hundredths(w, "percent", (uint32_t)event->other);
  writer_uint(w, "bytesWanted", report_excess(bulletin->params.service, event->device - 1u));
  writer_uint(w, "deadlineMs", BULLETIN_DEADLINE_MS);
}

static enum model_state state_after(const struct events_record *event) {
  switch (event->type) {
  case EVENTS_MODEL_LOADING:
    return MODEL_LOADING;
  case EVENTS_MODEL_READY:
    return MODEL_READY;
  case EVENTS_MODEL_PARKED:
    return MODEL_PARKED;
  case EVENTS_MODEL_UNLOADED:
    return MODEL_UNLOADED;
  default:
    return MODEL_FAILED;
  }
}

static void write_model(const struct bulletin *bulletin, const struct events_record *event,
                        struct writer *w) {
  writer_id(w, "modelId", ID_MODEL, event->subject);
  writer_text(w, "state", model_states[state_after(event)]);
  writer_text(w, "residency", model_residencies[event->detail]);
  write_device(w, "deviceId", bulletin, event->detail == MODEL_ON_DISK ? 0 : event->device);
}

static enum job_state status_after(const struct events_record *event) {
  switch (event->type) {
  case EVENTS_TRANSFER_STARTED:
    return JOB_RUNNING;
  case EVENTS_TRANSFER_COMPLETED:
    return JOB_COMPLETED;
  case EVENTS_TRANSFER_CANCELLED:
    return JOB_CANCELLED;
  default:
    return JOB_FAILED;
  }
}

/* Zeroed: it is not known any more. */
static struct job_transfer transfer_of(const struct bulletin *bulletin, uint64_t id) {
  struct job *job;
  struct job_view view;
  if (job_find(bulletin->params.service, id, true, &job))
    return (struct job_transfer){0};
  job_look(job, &view);
  job_give(job);
  return view.result.transfer;
}

static uint64_t model_of(const struct bulletin *bulletin, uint64_t allocation) {
  struct alloc_looked looked;
  struct problem problem;
  if (!allocation || alloc_look(bulletin->params.service, allocation, &looked, &problem))
    return 0;
  return looked.allocation.model_id;
}

static void write_transfer(const struct bulletin *bulletin, const struct events_record *event,
                           struct writer *w) {
  const struct job_transfer transfer = transfer_of(bulletin, event->subject);
  uint64_t model = transfer.model ? transfer.model : model_of(bulletin, transfer.allocation);
  writer_id(w, "transferId", ID_TRANSFER, event->subject);
  writer_text(w, "status", job_states[status_after(event)]);
  writer_id(w, "allocationId", ID_ALLOCATION, transfer.allocation);
  writer_id(w, "modelId", ID_MODEL, model);
  write_device(w, "source", bulletin, event->device);
  write_device(w, "target", bulletin, event->other_device);
  writer_uint(w, "bytes", event->bytes);
}

static const struct {
  const char *name; /* NULL: no news */
  void (*write)(const struct bulletin *bulletin, const struct events_record *event,
                struct writer *w);
} news[EVENTS_TYPES] = {
    [EVENTS_PRESSURE_CHANGED] = {"memory.pressure", write_pressure},
    [EVENTS_MODEL_LOADING] = {"memory.model", write_model},
    [EVENTS_MODEL_READY] = {"memory.model", write_model},
    [EVENTS_MODEL_PARKED] = {"memory.model", write_model},
    [EVENTS_MODEL_UNLOADED] = {"memory.model", write_model},
    [EVENTS_MODEL_FAILED] = {"memory.model", write_model},
    [EVENTS_TRANSFER_STARTED] = {"memory.transfer", write_transfer},
    [EVENTS_TRANSFER_COMPLETED] = {"memory.transfer", write_transfer},
    [EVENTS_TRANSFER_FAILED] = {"memory.transfer", write_transfer},
    [EVENTS_TRANSFER_CANCELLED] = {"memory.transfer", write_transfer},
};

static void tell(const struct bulletin *bulletin, const struct events_record *event) {
  struct buf line BUF_CLEANUP;
  struct writer w;
  buf_init(&line, WIRE_LINE);
  writer_init(&w, &line, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_text(&w, "event", news[event->type].name);
  writer_object(&w, "data");
  news[event->type].write(bulletin, event, &w);
  writer_end(&w);
  writer_end(&w);
  bulletin->params.tell(bulletin->params.arg, &line);
}

/* ---- reading ---- */

/* Any thread, under the lock of events. */
static void on_event(void *arg) {
  struct bulletin *bulletin = arg;
  if (atomic_load_explicit(&bulletin->armed, memory_order_relaxed) &&
      atomic_exchange(&bulletin->armed, false))
    loop_post(bulletin->params.loop, &bulletin->wake);
}

static void wake(struct task *task) {
  loop_timer_start(((struct bulletin *)task)->timer, BULLETIN_BATCH_MS, 0);
}

/* What comes while it reads wakes it again. */
static void read_all(void *arg) {
  struct bulletin *bulletin = arg;
  struct events_record event;
  uint64_t lost;
  atomic_store(&bulletin->armed, true);
  for (unsigned i = 0; i < BULLETIN_AT_ONCE; i++) {
    if (!events_next(bulletin->events, bulletin->after, &event, &lost))
      return;
    bulletin->after = event.id;
    if (news[event.type].name)
      tell(bulletin, &event);
  }
  loop_timer_start(bulletin->timer, 0, 0);
}

enum status bulletin_create(const struct bulletin_params *params, struct bulletin **out) {
  struct bulletin *bulletin = calloc(1, sizeof *bulletin);
  if (!bulletin)
    return STATUS_INTERNAL_ERROR;
  bulletin->params = *params;
  bulletin->wake.run = wake;
  bulletin->events = service_events(params->service);
  bulletin->after = events_last(bulletin->events);
  atomic_store(&bulletin->armed, true);
  enum status status = loop_timer(params->loop, read_all, bulletin, &bulletin->timer);
  if (!status)
    status = events_listen(bulletin->events, on_event, bulletin);
  if (status) {
    loop_timer_free(bulletin->timer);
    free(bulletin);
    return status;
  }
  *out = bulletin;
  return STATUS_OK;
}

void bulletin_free(struct bulletin *bulletin) {
  if (!bulletin)
    return;
  loop_timer_free(bulletin->timer);
  free(bulletin);
}
