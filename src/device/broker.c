/*
 * broker: all calls but release come from the device's owner thread, and release needs no process:
 * what it made lives by its descriptors alone. So there is nothing to lock.
 *
 * A process that died while nobody asked is replaced at once, and then asked. One that dies of a
 * question, or does not answer it, is ended; the next call starts another, once a second at most.
 */
#include "device/broker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/packet.h"
#include "base/reader.h"
#include "base/spawn.h"
#include "base/writer.h"

#define BROKER_START_NS (30 * CLOCK_SECOND) /* drivers of many cards take seconds to start */
#define BROKER_ANSWER_NS (5 * CLOCK_SECOND)
#define BROKER_PAUSE_NS CLOCK_SECOND /* between two starts, but not before the second */
#define BROKER_END_MS 1000

struct broker {
  struct spec spec;
  struct spawn_child child; /* pid 0: there is none */
  struct share end;
  uint64_t starts, started_ns;
};

struct answer {
  struct reader_doc *doc; /* NULL: there is none */
  struct reader_value root;
  struct share share;
};

/* ---- the process ---- */

static enum status launch(struct broker *broker, const struct share *theirs) {
  char text[256];
  const struct spec *spec = &broker->spec;
  struct spec plain = {.size_bytes = spec->size_bytes,
                       .rate_bytes = spec->rate_bytes,
                       .latency_ns = spec->latency_ns};
  memcpy(plain.id, spec->id, sizeof plain.id);
  memcpy(plain.uuid, spec->uuid, sizeof plain.uuid);
  const char *argv[] = {spec->broker, "--own", spec_format(&plain, text, sizeof text), NULL};
  const char *environment[] = {"MEMKEEP_FD=3", spec->environment[0] ? spec->environment : NULL,
                               NULL};
  const struct spawn_params params = {.argv = argv,
                                      .environment = environment,
                                      .stdin_fd = -1,
                                      .stdout_fd = -1,
                                      .stderr_fd = -1,
                                      .third_fd = (int)theirs->value};
  return spawn_start(&params, &broker->child);
}

static enum status start(struct broker *broker) {
  struct share theirs;
  if (broker->starts > 1 && clock_now() - broker->started_ns < BROKER_PAUSE_NS)
    return STATUS_DEVICE_UNAVAILABLE;
  broker->starts++;
  broker->started_ns = clock_now();
  enum status status = packet_pair(&broker->end, &theirs);
  if (status)
    return status;
  status = launch(broker, &theirs);
  share_close(&theirs);
  if (!status) {
    log_info("device", "%s is owned by a process of its own (pid %d)", broker->spec.id,
             (int)broker->child.pid);
    return STATUS_OK;
  }
  log_error("device", "%s: %s cannot be started: %s", broker->spec.id, broker->spec.broker,
            status_text(status));
  share_close(&broker->end);
  return STATUS_DEVICE_UNAVAILABLE;
}

static void stop(struct broker *broker) {
  spawn_kill(&broker->child);
  spawn_done(&broker->child, BROKER_END_MS);
  share_close(&broker->end);
}

/* ---- questions ---- */

static void answer_done(struct answer *answer) {
  share_close(&answer->share);
  reader_free(answer->doc);
  answer->doc = NULL;
}

/* NOT_FOUND: the process is gone. WORKER_TIMEOUT: it does not answer. */
static enum status exchange(const struct broker *broker, const struct buf *question,
                            uint64_t deadline, struct answer *answer) {
  char text[PACKET_TEXT + 1];
  struct problem problem;
  if (packet_send(&broker->end, question->data, question->size, NULL))
    return STATUS_NOT_FOUND;
  if (!packet_wait(&broker->end, deadline))
    return STATUS_WORKER_TIMEOUT;
  if (packet_receive(&broker->end, text, &answer->share) ||
      reader_parse(text, strlen(text), &answer->doc, &problem))
    return STATUS_NOT_FOUND;
  answer->root = reader_root(answer->doc);
  return STATUS_OK;
}

static const char *why(enum status status) {
  return status == STATUS_NOT_FOUND ? "died" : "does not answer";
}

/* The answer is to be given back, whatever is returned: its status, or what kept it away. */
static enum status ask(struct broker *broker, const struct buf *question, struct answer *answer) {
  enum status status = STATUS_OK;
  *answer = (struct answer){.share = {SHARE_NONE, 0}};
  for (bool fresh = false; !fresh;) {
    fresh = !broker->child.pid;
    if (fresh && (status = start(broker)))
      return status;
    status = exchange(broker, question, clock_now() + (fresh ? BROKER_START_NS : BROKER_ANSWER_NS),
                      answer);
    if (!status)
      return status_parse(reader_text(reader_get(answer->root, "status"), ""));
    log_warning("device", "the process that owns %s %s", broker->spec.id, why(status));
    answer_done(answer);
    stop(broker);
    if (status == STATUS_WORKER_TIMEOUT)
      break;
  }
  return STATUS_DEVICE_UNAVAILABLE;
}

/* With one figure, or none (NULL). */
static enum status ask_for(struct broker *broker, const char *call, const char *figure,
                           uint64_t value, struct answer *answer) {
  struct buf question BUF_CLEANUP;
  struct writer w;
  buf_init(&question, PACKET_TEXT);
  writer_init(&w, &question, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_text(&w, "call", call);
  if (figure)
    writer_uint(&w, figure, value);
  writer_end(&w);
  return ask(broker, &question, answer);
}

static uint64_t figure_of(const struct answer *answer, const char *name) {
  return reader_uint(reader_get(answer->root, name), 0);
}

static uint64_t figure_or_unknown(const struct answer *answer, const char *name) {
  return reader_uint(reader_get(answer->root, name), DEVICE_BYTES_UNKNOWN);
}

static void copy_text(const struct answer *answer, const char *name, char *out, size_t size) {
  snprintf(out, size, "%s", reader_text(reader_get(answer->root, name), ""));
}

/* ---- the owner half ---- */

static enum status broker_describe(void *arg, struct device_info *info) {
  struct answer answer;
  enum status status = ask_for(arg, "describe", NULL, 0, &answer);
  if (!status) {
    copy_text(&answer, "name", info->name, sizeof info->name);
    copy_text(&answer, "uuid", info->uuid, sizeof info->uuid);
    copy_text(&answer, "driver_uuid", info->driver_uuid, sizeof info->driver_uuid);
    copy_text(&answer, "pci", info->pci, sizeof info->pci);
    copy_text(&answer, "driver", info->driver, sizeof info->driver);
    info->type = (enum device_type)figure_of(&answer, "type");
    info->memory = (enum device_memory)figure_of(&answer, "memory");
    info->total_bytes = figure_of(&answer, "total_bytes");
    info->limit_bytes = figure_of(&answer, "limit_bytes");
    info->kept_bytes = figure_of(&answer, "kept_bytes");
    info->granularity = figure_of(&answer, "granularity");
    info->costly = reader_bool(reader_get(answer.root, "costly"), false);
  }
  answer_done(&answer);
  return status;
}

static void broker_close(void *arg) {
  stop(arg);
  free(arg);
}

static enum status broker_open(const struct spec *spec, void **out) {
  struct broker *broker = calloc(1, sizeof *broker);
  struct device_info info = {.limit_bytes = 0};
  if (!broker)
    return STATUS_INTERNAL_ERROR;
  broker->spec = *spec;
  enum status status = broker_describe(broker, &info);
  if (status) {
    broker_close(broker);
    return status;
  }
  spec_bind(&broker->spec, info.uuid, info.driver_uuid);
  *out = broker;
  return STATUS_OK;
}

static enum status broker_budget(void *arg, struct device_budget *budget) {
  struct answer answer;
  enum status status = ask_for(arg, "budget", NULL, 0, &answer);
  if (!status) {
    budget->free_bytes = figure_or_unknown(&answer, "free_bytes");
    budget->used_bytes = figure_or_unknown(&answer, "used_bytes");
  }
  answer_done(&answer);
  return status;
}

/* A driver that is lost in a process may be there in the next one. */
static enum status broker_create(void *arg, uint64_t size, struct share *out) {
  struct answer answer;
  enum status status = ask_for(arg, "create", "sizeBytes", size, &answer);
  if (!status && answer.share.kind == SHARE_NONE)
    status = STATUS_INTERNAL_ERROR;
  if (!status) {
    answer.share.kind = share_kind_parse(reader_text(reader_get(answer.root, "handle_type"), ""));
    *out = answer.share;
    answer.share.kind = SHARE_NONE;
  }
  answer_done(&answer);
  if (status == STATUS_DEVICE_UNAVAILABLE)
    stop(arg);
  return status;
}

static void broker_release(void *arg, struct share *share, uint64_t size, bool exported) {
  (void)arg;
  (void)size;
  (void)exported;
  share_close(share);
}

static bool read_process(struct broker *broker, uint32_t index, struct device_process *out) {
  struct answer answer;
  bool found = !ask_for(broker, "process", "index", index, &answer);
  if (found) {
    *out = (struct device_process){.pid = (int32_t)figure_of(&answer, "pid"),
                                   .dead = reader_bool(reader_get(answer.root, "dead"), false)};
    out->used_bytes = figure_or_unknown(&answer, "used_bytes");
    copy_text(&answer, "name", out->name, sizeof out->name);
  }
  answer_done(&answer);
  return found;
}

static uint32_t broker_processes(void *arg, struct device_process *out, uint32_t max) {
  uint32_t count = 0;
  while (count < max && read_process(arg, count, &out[count]))
    count++;
  return count;
}

void broker_table(struct backend *table) {
  table->open = broker_open;
  table->close = broker_close;
  table->describe = broker_describe;
  table->budget = broker_budget;
  table->create = broker_create;
  table->release = broker_release;
  table->commit = NULL;
  table->resident = NULL;
  table->settle = NULL;
  table->processes = table->processes ? broker_processes : NULL;
}
