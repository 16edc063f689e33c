/*
 * events: the stream's filter, and how an event is told. `types` is a list of event types, or of
 * families as in transfer.*; all of them when it is not there. On the socket the answer comes first
 * and the events behind it.
 */
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "ops/op.h"
#include "ops/reply.h"
#include "service/events.h"
#include "service/model.h"
#include "service/predict.h"
#include "service/report.h"

struct stream {
  char types[512]; /* first */
  uint64_t after;  /* OP_START: only what is to come */
};

static void set_defaults(void *params) { ((struct stream *)params)->after = OP_START; }

/* Whether one pattern of the list, n bytes of it, means this type. */
static bool means(const char *pattern, size_t n, const char *word) {
  if (n >= 2 && strncmp(pattern + n - 2, ".*", 2) == 0)
    return strncmp(pattern, word, n - 1) == 0;
  return strlen(word) == n && strncmp(pattern, word, n) == 0;
}

static bool is_known(const char *pattern, size_t n) {
  for (int type = 0; type < EVENTS_TYPES; type++)
    if (means(pattern, n, events_word((enum events_type)type)))
      return true;
  return false;
}

bool op_events_wanted(const void *params, const struct events_record *event) {
  const char *at = ((const struct stream *)params)->types;
  const char *word = events_word((enum events_type)event->type);
  if (!*at)
    return true;
  while (*at) {
    size_t n = strcspn(at, ",");
    if (means(at, n, word))
      return true;
    at += n + (at[n] == ',');
  }
  return false;
}

static enum ops_progress run(struct ops_call *call, void *params) {
  struct problem problem;
  for (const char *at = ((const struct stream *)params)->types; *at;) {
    size_t n = strcspn(at, ",");
    if (!is_known(at, n)) {
      problem_field(&problem, STATUS_INVALID_ARGUMENT, "types", "there are no events of type %.*s",
                    (int)(n < 60 ? n : 60), at);
      return reply_fail(call, &problem);
    }
    at += n + (at[n] == ',');
  }
  call->http_status = 200;
  if (!call->caller.connection)
    return OPS_DONE;
  struct writer w;
  reply_begin(call, &w);
  return reply_end(call, &w);
}

bool op_events_after(const void *params, uint64_t *after) {
  const struct stream *stream = params;
  if (stream->after == OP_START)
    return false;
  *after = stream->after;
  return true;
}

/* ---- one event ---- */

static void write_device(const struct service *service, struct writer *w, const char *key,
                         uint8_t index) {
  writer_text(w, key, index ? report_device_id(service, index - 1u) : NULL);
}

static void write_known(struct writer *w, const char *key, uint64_t value) {
  if (value)
    writer_uint(w, key, value);
  else
    writer_null(w, key);
}

static void write_allocation(const struct service *service, const struct events_record *event,
                             struct writer *w) {
  writer_id(w, "allocationId", 'a', event->subject);
  write_device(service, w, "deviceId", event->device);
  write_known(w, "sizeBytes", event->bytes);
  writer_text(w, "purpose", event->detail < VIEW_PURPOSES ? view_purposes[event->detail] : NULL);
  if (event->type == EVENTS_ALLOCATION_ATTACHED || event->type == EVENTS_ALLOCATION_DETACHED)
    write_known(w, "pid", event->other);
}

static void write_transfer(const struct service *service, const struct events_record *event,
                           struct writer *w) {
  writer_id(w, "transferId", 't', event->subject);
  write_device(service, w, "sourceDeviceId", event->device);
  write_device(service, w, "targetDeviceId", event->other_device);
  writer_uint(w, "sizeBytes", event->bytes);
}

static void write_pressure(const struct service *service, const struct events_record *event,
                           struct writer *w) {
  write_device(service, w, "deviceId", event->device);
  writer_text(w, "level", pressure_name((enum pressure_level)event->detail));
  writer_hundredths(w, "percent", event->other);
  writer_uint(w, "availableBytes", event->bytes);
}

static void write_worker(const struct service *service, const struct events_record *event,
                         struct writer *w) {
  (void)service;
  writer_text(w, "workerId", event->text);
}

static void write_changed_device(const struct service *service, const struct events_record *event,
                                 struct writer *w) {
  write_device(service, w, "deviceId", event->device);
}

static void write_model(const struct service *service, const struct events_record *event,
                        struct writer *w) {
  writer_id(w, "modelId", 'm', event->subject);
  write_device(service, w, "deviceId", event->device);
  write_known(w, "sizeBytes", event->bytes);
  writer_text(w, "residency", model_residencies[event->detail]);
}

static void write_job(const struct service *service, const struct events_record *event,
                      struct writer *w) {
  (void)service;
  writer_id(w, "jobId", event->other_device == JOB_TRANSFER ? 't' : 'j', event->subject);
  writer_text(w, "status", job_states[event->detail]);
  writer_hundredths(w, "progressPercent",
                    event->detail == JOB_COMPLETED ? 10000
                                                   : units_percent(event->bytes, event->other));
  writer_uint(w, "bytesDone", event->bytes);
  writer_uint(w, "bytesTotal", event->other);
}

static void write_prediction(const struct service *service, const struct events_record *event,
                             struct writer *w) {
  enum predict_kind kind = event->detail & ~PREDICT_NEEDED;
  writer_text(w, "kind", predict_kinds[kind]);
  if (event->type == EVENTS_PREDICTION_DISABLED) {
    writer_uint(w, "judged", event->bytes);
    writer_hundredths(w, "neededPercent", event->other);
    return;
  }
  writer_id(w, "predictionId", 'p', event->subject);
  write_device(service, w, "deviceId", event->device);
  writer_uint(w, "sizeBytes", event->bytes);
  writer_object(w, "forecast");
  if (kind == PREDICT_PREFETCH) {
    writer_id(w, "modelId", 'm', event->other);
    writer_hundredths(w, "confidencePercent", UINT64_C(100) * event->other_device);
  } else {
    writer_double(w, "secondsToHigh", (double)event->other / 1000);
  }
  writer_end(w);
  if (event->type == EVENTS_PREDICTION_JUDGED)
    writer_bool(w, "needed", event->detail & PREDICT_NEEDED);
}

/* By the first word of the type. */
static const struct family {
  const char *word;
  void (*write)(const struct service *service, const struct events_record *event, struct writer *w);
} families[] = {
    {"allocation.", write_allocation}, {"transfer.", write_transfer},
    {"pressure.", write_pressure},     {"worker.", write_worker},
    {"device.", write_changed_device}, {"job.", write_job},
    {"model.", write_model},           {"prediction.", write_prediction},
};

void op_events_write(struct service *service, const struct events_record *event, struct writer *w) {
  const char *word = events_word((enum events_type)event->type);
  bool of_worker = strncmp(word, "worker.", 7) == 0;
  writer_object(w, NULL);
  writer_time(w, "time", event->time);
  writer_text(w, "type", word);
  writer_text_or_null(w, "correlationId", of_worker ? "" : event->text);
  for (size_t i = 0; i < OP_COUNT(families); i++)
    if (strncmp(word, families[i].word, strlen(families[i].word)) == 0)
      families[i].write(service, event, w);
  writer_end(w);
}

void op_events_write_lost(uint64_t lost, struct writer *w) {
  writer_object(w, NULL);
  writer_time(w, "time", clock_real());
  writer_text(w, "type", "events.lost");
  writer_null(w, "correlationId");
  writer_uint_or_null(w, "lostEvents", lost);
  writer_end(w);
}

static const struct reader_field fields[] = {
    {.name = "types",
     .type = READER_TEXT,
     .offset = offsetof(struct stream, types),
     .size = sizeof(((struct stream *)0)->types),
     .doc =
         "only these, separated by commas: allocation.created (or freed, moved, expired, filled, "
         "copied, attached, detached), transfer.*, …"},
    {.name = "lastEventId",
     .type = READER_UINT,
     .offset = offsetof(struct stream, after),
     .doc = "also those that came after this one, as far as they are kept"},
};

const struct ops_row op_events_stream = {.action = "memory.events",
                                         .method = OPS_GET,
                                         .path = "/api/memory/events",
                                         .role = CALLER_READ,
                                         .envelope = true,
                                         .type = "text/event-stream",
                                         .streams = true,
                                         .fields = fields,
                                         .field_count = 2,
                                         .query_count = 2,
                                         .params_size = sizeof(struct stream),
                                         .defaults = set_defaults,
                                         .summary = "What happens, as Server-Sent Events",
                                         .answer = "Events",
                                         .schema = NULL,
                                         .handler = run};
