/*
 * own: one question after another, on one thread. What was made is let go of when nobody has asked
 * for a while, at the latest before the next question is answered: so this process holds nothing
 * whose end anybody would miss, and no figure counts, and no new memory misses, what is let go of.
 * Not at once, for a driver may take long for it, and lets who imports the memory wait meanwhile
 * (NVIDIA's: 13 ms a GiB for each of both, one after the other).
 */
#include "worker/own.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/packet.h"
#include "base/reader.h"
#include "base/writer.h"
#include "device/device.h"

#define OWN_PROCESSES 64
#define OWN_QUIET_NS (500 * CLOCK_MS) /* by then large memory is imported */

struct own {
  struct share end;
  enum status status; /* of the opening */
  struct device *device;
  struct share made; /* its descriptor is on its way, and it is not yet let go of */
  struct device_process processes[OWN_PROCESSES];
  uint32_t process_count; /* as the first of them was asked for */
};

/* Writes what it finds, and leaves a share that is to be sent along. */
typedef enum status call_fn(struct own *own, struct reader_value question, struct writer *w,
                            struct share *share);

static enum status describe(struct own *own, struct reader_value question, struct writer *w,
                            struct share *share) {
  const struct device_info *info = device_info(own->device);
  (void)question;
  (void)share;
  writer_text(w, "name", info->name);
  writer_text(w, "uuid", info->uuid);
  writer_text(w, "driverUuid", info->driver_uuid);
  writer_text(w, "pci", info->pci);
  writer_text(w, "driver", info->driver);
  writer_uint(w, "type", info->type);
  writer_uint(w, "memory", info->memory);
  writer_uint(w, "totalBytes", info->total_bytes);
  writer_uint(w, "limitBytes", info->limit_bytes);
  writer_uint(w, "keptBytes", info->kept_bytes);
  writer_uint(w, "granularity", info->granularity);
  writer_bool(w, "costly", info->costly);
  return STATUS_OK;
}

static enum status budget(struct own *own, struct reader_value question, struct writer *w,
                          struct share *share) {
  struct device_call call = {.action = DEVICE_BUDGET};
  enum status status = device_run(own->device, &call);
  (void)question;
  (void)share;
  writer_bytes(w, "freeBytes", call.budget.free_bytes);
  writer_bytes(w, "usedBytes", call.budget.used_bytes);
  return status;
}

static enum status create(struct own *own, struct reader_value question, struct writer *w,
                          struct share *share) {
  struct device_call call = {.action = DEVICE_CREATE,
                             .size = reader_uint(reader_get(question, "size_bytes"), 0),
                             .open = true}; /* who asks seals it */
  enum status status = call.size ? device_run(own->device, &call) : STATUS_INVALID_ARGUMENT;
  if (!status)
    *share = call.share;
  writer_text(w, "handleType", share_kind_name(share->kind));
  return status;
}

static enum status process(struct own *own, struct reader_value question, struct writer *w,
                           struct share *share) {
  uint64_t index = reader_uint(reader_get(question, "index"), 0);
  (void)share;
  if (!index)
    own->process_count = device_processes(own->device, own->processes, OWN_PROCESSES);
  if (index >= own->process_count)
    return STATUS_NOT_FOUND;
  const struct device_process *found = &own->processes[index];
  writer_int(w, "pid", found->pid);
  writer_text(w, "name", found->name);
  writer_bool(w, "dead", found->dead);
  if (found->used_bytes != DEVICE_BYTES_UNKNOWN)
    writer_uint(w, "usedBytes", found->used_bytes);
  return STATUS_OK;
}

static const struct {
  const char *name;
  call_fn *run;
} calls[] = {{"describe", describe}, {"budget", budget}, {"create", create}, {"process", process}};

static call_fn *find(struct reader_value question) {
  const char *name = reader_text(reader_get(question, "call"), "");
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    if (!strcmp(calls[i].name, name))
      return calls[i].run;
  return NULL;
}

static void answer(struct own *own, struct reader_value question) {
  struct buf out BUF_CLEANUP;
  struct writer w;
  struct share share = {SHARE_NONE, 0};
  call_fn *run = find(question);
  enum status status = own->status;
  buf_init(&out, PACKET_TEXT);
  writer_init(&w, &out, WRITER_SNAKE);
  writer_object(&w, NULL);
  if (!status)
    status = run ? run(own, question, &w, &share) : STATUS_INVALID_ARGUMENT;
  writer_text(&w, "status", status_code(status));
  writer_end(&w);
  if (out.failed || packet_send(&own->end, out.data, out.size, &share))
    log_error("worker", "an answer about a device cannot be sent");
  own->made = share;
}

static void let_go(struct own *own) {
  struct device_call release = {.action = DEVICE_RELEASE, .share = own->made};
  if (own->made.kind != SHARE_NONE)
    (void)device_run(own->device, &release);
  own->made.kind = SHARE_NONE;
}

static void serve(struct own *own) {
  char text[PACKET_TEXT + 1];
  enum status status;
  do {
    struct share share = {SHARE_NONE, 0};
    struct reader_doc *doc = NULL;
    struct problem problem;
    if (own->made.kind != SHARE_NONE)
      (void)packet_wait(&own->end, clock_now() + OWN_QUIET_NS);
    let_go(own);
    status = packet_receive(&own->end, text, &share);
    share_close(&share);
    if (!status && !reader_parse(text, strlen(text), &doc, &problem))
      answer(own, reader_root(doc));
    reader_free(doc);
  } while (status != STATUS_NOT_FOUND);
}

int own_run(const char *device) {
  struct own own = {.status = STATUS_OK, .made = {SHARE_NONE, 0}};
  struct spec spec;
  struct problem problem;
  if (spec_parse(device, &spec, &problem)) {
    fprintf(stderr, "memkeep-worker: %s\n", problem.text);
    return 2;
  }
  if (packet_inherited(getenv("MEMKEEP_FD"), &own.end)) {
    fprintf(stderr, "memkeep-worker: --own is for memkeepd, which gives it MEMKEEP_FD\n");
    return 2;
  }
  own.status = device_open(&spec, NULL, &own.device);
  serve(&own);
  device_close(own.device);
  return 0;
}
