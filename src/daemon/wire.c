/*
 * wire: see wire.h. Names are snake_case on this wire; the writer makes them so.
 */
#include "daemon/wire.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/log.h"
#include "base/writer.h"
#include "model/policy_preset.h"

static void open_request(struct writer *w, struct buf *out, uint64_t request, const char *action) {
  char id[32];
  snprintf(id, sizeof id, "r-%" PRIu64, request);
  writer_init(w, out, WRITER_SNAKE);
  writer_object(w, NULL);
  writer_text(w, "requestId", id);
  writer_text(w, "action", action);
  writer_object(w, "data");
}

static void close_request(struct writer *w, uint64_t deadline_ms) {
  writer_end(w);
  writer_uint(w, "deadlineMs", deadline_ms);
  writer_end(w);
}

static void place(struct writer *w, const char *key, const struct mover_segment *segment,
                  uint64_t offset) {
  writer_object(w, key);
  writer_id(w, "segmentId", ID_SEGMENT, segment->id);
  writer_uint(w, "offsetBytes", offset);
  writer_end(w);
}

static void move(struct writer *w, const struct mover_task *task, const struct mover_move *one) {
  place(w, "source", &task->segments[one->from], one->from_offset);
  place(w, "target", &task->segments[one->to], one->to_offset);
  writer_uint(w, "sizeBytes", one->size);
}

/* The moves themselves are in a file. */
static void defragment(struct writer *w, const struct mover_task *task) {
  writer_text(w, "deviceId", task->segments[0].device_id);
  writer_bool(w, "brief", true);
  writer_array(w, "moves");
  writer_object(w, NULL);
  writer_array(w, "segments");
  for (uint32_t i = 0; i < task->segment_count; i++)
    writer_id(w, NULL, ID_SEGMENT, task->segments[i].id);
  writer_end(w);
  writer_uint(w, "fileId", task->files_first);
  writer_uint(w, "count", task->move_count);
  writer_end(w);
  writer_end(w);
}

static void load(struct writer *w, const struct mover_task *task) {
  writer_id(w, "modelId", ID_MODEL, task->model);
  writer_array(w, "fileIds");
  for (uint32_t i = 0; i < task->file_count; i++)
    writer_uint(w, NULL, task->files_first + i);
  writer_end(w);
  writer_array(w, "targets");
  for (uint32_t i = 0; i < task->move_count; i++) {
    const struct mover_move *one = &task->moves[i];
    writer_object(w, NULL);
    writer_uint(w, "fileId", task->files_first + one->from);
    writer_id(w, "segmentId", ID_SEGMENT, task->segments[one->to].id);
    writer_uint(w, "offsetBytes", one->to_offset);
    writer_uint(w, "sizeBytes", one->size);
    writer_end(w);
  }
  writer_end(w);
  writer_bool(w, "verify", task->verify);
}

static void optimize(struct writer *w, const struct mover_task *task) {
  if (task->device_id)
    writer_text(w, "deviceId", task->device_id);
  writer_text(w, "targetPressureLevel", pressure_name((enum pressure_level)task->value));
  writer_text(w, "strategy", policy_preset_at(task->want.strategy)->name);
  writer_int(w, "maxModelsToUnload",
             task->want.max_models > INT64_MAX ? -1 : (int64_t)task->want.max_models);
  writer_uint(w, "minMemoryToFree", task->want.bytes);
  writer_array(w, "excludeModels");
  for (uint32_t i = 0; i < task->want.exclude_count; i++)
    writer_id(w, NULL, ID_MODEL, task->want.exclude[i]);
  writer_end(w);
  writer_bool(w, "force", task->want.force);
  writer_uint(w, "deadlineMs", task->want.deadline_ms);
}

static const char *const clear_types[] = {
    [MOVER_CLEAR_CACHE] = "cache", [MOVER_CLEAR_IDLE] = "idle", [MOVER_CLEAR_ALL] = "all"};

static void data_of(struct writer *w, const struct mover_task *task) {
  switch (task->action) {
  case MOVER_TRANSFER:
    writer_id(w, "transferId", ID_TRANSFER, task->subject);
    /* fall through */
  case MOVER_COPY:
    move(w, task, &task->moves[0]);
    writer_bool(w, "verify", task->verify);
    if (task->sums)
      writer_bool(w, "fingerprint", true);
    break;
  case MOVER_FILL:
    place(w, "target", &task->segments[0], task->moves[0].to_offset);
    writer_uint(w, "sizeBytes", task->moves[0].size);
    writer_uint(w, "value", task->value);
    writer_bool(w, "verify", task->verify);
    break;
  case MOVER_DEFRAGMENT:
    defragment(w, task);
    break;
  case MOVER_CLEAR:
    if (task->device_id)
      writer_text(w, "deviceId", task->device_id);
    writer_text(w, "clearType", clear_types[task->value]);
    break;
  case MOVER_LOAD:
    load(w, task);
    break;
  case MOVER_OPTIMIZE:
    optimize(w, task);
    break;
  case MOVER_LOOK:
    break;
  }
}

const char *wire_action(enum mover_action action) {
  static const char *const names[] = {
      [MOVER_TRANSFER] = "memory.transfer", [MOVER_COPY] = "memory.copy",
      [MOVER_FILL] = "memory.fill",         [MOVER_DEFRAGMENT] = "memory.defragment",
      [MOVER_CLEAR] = "memory.clear",       [MOVER_LOAD] = "memory.load_model",
      [MOVER_LOOK] = "memory.get_status",   [MOVER_OPTIMIZE] = "memory.optimize"};
  return names[action];
}

void wire_task(struct buf *out, uint64_t request, const struct mover_task *task) {
  struct writer w;
  open_request(&w, out, request, wire_action(task->action));
  data_of(&w, task);
  close_request(&w, WIRE_DEADLINE_MS);
}

void wire_drop(struct buf *out, uint64_t request, uint64_t segment) {
  struct writer w;
  open_request(&w, out, request, "segment.drop");
  writer_id(&w, "segmentId", ID_SEGMENT, segment);
  close_request(&w, WIRE_DEADLINE_MS);
}

void wire_plain(struct buf *out, uint64_t request, const char *action) {
  struct writer w;
  open_request(&w, out, request, action);
  close_request(&w, WIRE_QUICK_MS);
}

void wire_cancel(struct buf *out, uint64_t request, uint64_t target) {
  struct writer w;
  char id[32];
  snprintf(id, sizeof id, "r-%" PRIu64, target);
  open_request(&w, out, request, "cancel");
  writer_text(&w, "requestId", id);
  close_request(&w, WIRE_QUICK_MS);
}

static void thresholds_of(struct writer *w, const struct pressure_thresholds *thresholds) {
  writer_hundredths(w, "moderate", thresholds->moderate);
  writer_hundredths(w, "high", thresholds->high);
  writer_hundredths(w, "critical", thresholds->critical);
}

static void write_relief(struct writer *w, const struct mover_numbers *numbers) {
  writer_object(w, "relief");
  writer_hundredths(w, "trigger", numbers->relief_trigger);
  writer_hundredths(w, "target", numbers->relief_target);
  writer_end(w);
}

static void write_limits(struct writer *w, const struct wire_initialize *what) {
  struct wire_limits limits;
  writer_array(w, "limits");
  for (unsigned i = 0; i < what->count; i++) {
    if (!what->limits || !what->limits(what->arg, what->devices[i].id, &limits))
      continue;
    writer_object(w, NULL);
    writer_text(w, "deviceId", what->devices[i].id);
    writer_uint(w, "maxBytes", limits.max_bytes);
    writer_uint(w, "reservedBytes", limits.reserved_bytes);
    writer_text(w, "pressureLevel", pressure_name(limits.pressure.level));
    writer_hundredths(w, "pressurePercent", limits.pressure.percent);
    writer_end(w);
  }
  writer_end(w);
}

/* Ours is theirs. */
static const char *log_level(void) {
  return log_wants(LOG_LEVEL_DEBUG)     ? "debug"
         : log_wants(LOG_LEVEL_INFO)    ? "info"
         : log_wants(LOG_LEVEL_WARNING) ? "warning"
                                        : "error";
}

void wire_initialize(struct buf *out, uint64_t request, const struct wire_initialize *what) {
  struct writer w;
  open_request(&w, out, request, "memory.initialize");
  writer_array(&w, "devices");
  for (unsigned i = 0; i < what->count; i++) {
    char text[256];
    writer_object(&w, NULL);
    writer_text(&w, "deviceId", what->devices[i].id);
    writer_text(&w, "spec", spec_format(&what->devices[i], text, sizeof text));
    writer_end(&w);
  }
  writer_end(&w);
  write_limits(&w, what);
  writer_object(&w, "thresholds");
  thresholds_of(&w, &what->numbers.levels);
  writer_end(&w);
  write_relief(&w, &what->numbers);
  writer_text(&w, "policy", policy_preset_at(what->numbers.strategy)->name);
  writer_text(&w, "logLevel", log_level());
  close_request(&w, WIRE_QUICK_MS);
}

void wire_thresholds(struct buf *out, const struct wire_initialize *what) {
  struct writer w;
  writer_init(&w, out, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_text(&w, "event", "memory.thresholds");
  writer_object(&w, "data");
  thresholds_of(&w, &what->numbers.levels);
  write_relief(&w, &what->numbers);
  write_limits(&w, what);
  writer_end(&w);
  writer_end(&w);
}

void wire_segment(struct buf *out, const struct mover_segment *segment) {
  struct writer w;
  writer_init(&w, out, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_id(&w, "segmentId", ID_SEGMENT, segment->id);
  writer_text(&w, "deviceId", segment->device_id);
  writer_uint(&w, "sizeBytes", segment->size);
  writer_text(&w, "handleType", share_kind_name(segment->share->kind));
  writer_end(&w);
}

void wire_file(struct buf *out, uint64_t id, uint64_t size) {
  struct writer w;
  writer_init(&w, out, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_uint(&w, "fileId", id);
  writer_uint(&w, "sizeBytes", size);
  writer_end(&w);
}

void wire_names(struct reader_value array, char *out, size_t size) {
  size_t used = 0;
  for (size_t i = 0; i < reader_count(array); i++) {
    const char *name = reader_text(reader_at(array, i), "");
    if (used + strlen(name) + 2 > size)
      return;
    used += (size_t)snprintf(out + used, size - used, "%s%s", used ? "," : "", name);
  }
}

bool wire_lists(const char *capabilities, const char *capability) {
  size_t n = strlen(capability);
  for (const char *at = capabilities; (at = strstr(at, capability)); at += n)
    if ((at == capabilities || at[-1] == ',') && (!at[n] || at[n] == ','))
      return true;
  return false;
}

uint64_t wire_request(const char *id) {
  char *end;
  if (strncmp(id, "r-", 2) != 0 || !isdigit((unsigned char)id[2]))
    return 0;
  uint64_t number = strtoull(id + 2, &end, 10);
  return *end ? 0 : number;
}

static void path_of(struct mover_task *task, const char *word) {
  for (int path = DEVICE_PATH_SAME; path <= DEVICE_PATH_STAGED; path++) {
    if (strcmp(word, device_path_name((enum device_path)path)) != 0)
      continue;
    task->path = (enum device_path)path;
    task->path_known = true;
  }
}

/* A brief answer names those that failed: there are few, if any, of thousands. */
static void defragmented(struct mover_task *task, struct reader_value data) {
  struct reader_value failed = reader_get(data, "failed");
  bool brief = reader_is_array(failed);
  struct reader_value named = brief ? failed : reader_get(data, "moved");
  for (uint32_t i = 0; i < task->move_count; i++)
    task->moves[i].ok = brief;
  for (size_t i = 0; i < reader_count(named); i++) {
    uint64_t index = reader_uint(reader_at(named, i), UINT64_MAX);
    if (index < task->move_count)
      task->moves[index].ok = !brief;
  }
}

/* "xxh3-64:" and 16 hex digits. */
static bool checksum_of(const char *text, uint64_t *out) {
  static const char kind[] = "xxh3-64:";
  const char *digits = text + sizeof kind - 1;
  if (strncmp(text, kind, sizeof kind - 1) != 0 || strspn(digits, "0123456789abcdef") != 16 ||
      digits[16])
    return false;
  *out = strtoull(digits, NULL, 16);
  return true;
}

/* What it must have moved: of a defragmentation, what it says it has. */
static uint64_t due_bytes(const struct mover_task *task) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < task->move_count; i++)
    if (task->action != MOVER_DEFRAGMENT || task->moves[i].ok)
      bytes += task->moves[i].size;
  return bytes;
}

static void none_moved(struct mover_task *task) {
  for (uint32_t i = 0; i < task->move_count; i++)
    task->moves[i].ok = false;
}

void wire_result(struct mover_task *task, struct reader_value data) {
  static const char *const counts[] = {[MOVER_TRANSFER] = "bytes",
                                       [MOVER_COPY] = "bytes",
                                       [MOVER_FILL] = "bytes",
                                       [MOVER_DEFRAGMENT] = "bytes",
                                       [MOVER_CLEAR] = "cleared_bytes",
                                       [MOVER_LOAD] = "size_bytes",
                                       [MOVER_LOOK] = "",
                                       [MOVER_OPTIMIZE] = "freed_bytes"};
  const char *checksum = reader_text(reader_get(data, "checksum"), "");
  const char *fingerprint = reader_text(reader_get(data, "fingerprint"), "");
  task->bytes = reader_uint(reader_get(data, counts[task->action]), 0);
  task->elapsed_us = reader_uint(reader_get(data, "elapsed_us"), UINT64_MAX);
  task->device_us = reader_uint(reader_get(data, "device_us"), UINT64_MAX);
  task->verified = reader_bool(reader_get(data, "verified"), false);
  task->checksum_known = checksum_of(checksum, &task->checksum);
  task->fingerprint_known = checksum_of(fingerprint, &task->fingerprint);
  path_of(task, reader_text(reader_get(data, "path"), ""));
  if (task->action == MOVER_DEFRAGMENT)
    defragmented(task, data);
  if (!task->move_count || task->bytes == due_bytes(task))
    return;
  problem_set(&task->problem, STATUS_INTERNAL_ERROR,
              "the worker moved %" PRIu64 " of %" PRIu64 " bytes", task->bytes, due_bytes(task));
  none_moved(task);
}
