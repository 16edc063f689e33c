/*
 * interface_actions: one function per action. What moves bytes takes its segments from the manager,
 * gives them back, and leaves the moving to the mover.
 */
#include "worker/interface_actions.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/id.h"
#include "worker/interface_defragment.h"
#include "worker/interface_load.h"
#include "worker/interface_place.h"
#include "worker/interface_state.h"
#include "worker/manager.h"
#include "worker/mover.h"

/* ---- bytes ---- */

static void write_sum(struct writer *w, const char *name, bool known, uint64_t sum) {
  char text[32];
  snprintf(text, sizeof text, "xxh3-64:%016llx", (unsigned long long)sum);
  writer_text(w, name, known ? text : NULL);
}

static void write_result(struct writer *w, const struct mover_work *work, enum device_path path) {
  writer_text(w, "status", "completed");
  writer_uint(w, "bytes", work->size);
  write_sum(w, "checksum", work->checksum_known, work->checksum);
  write_sum(w, "fingerprint", work->sums, work->fingerprint);
  if (work->verify)
    writer_bool(w, "verified", work->verified);
  else
    writer_null(w, "verified");
  writer_text(w, "path", device_path_name(path));
}

static void fail(struct interface_call *call, enum status status, const char *what) {
  if (!call->problem.status)
    problem_set(&call->problem, status, "%s: %s", what, status_text(status));
}

/* memory.transfer, memory.copy. With `fingerprint` nothing is read again. */
static void transfer(struct interface_call *call, struct writer *w) {
  uint64_t size = reader_uint(reader_get(call->data, "size_bytes"), 0);
  struct interface_place_end from = {0}, to = {0};
  enum status status = interface_place_take(call, reader_get(call->data, "source"), size, &from);
  if (!status)
    status = interface_place_take(call, reader_get(call->data, "target"), size, &to);
  struct mover_work work = {.from = from.place,
                            .to = to.place,
                            .size = size,
                            .sums = reader_bool(reader_get(call->data, "fingerprint"), false),
                            .cancel = &call->cancel,
                            .progress = interface_progress,
                            .arg = call};
  work.verify = !work.sums && reader_bool(reader_get(call->data, "verify"), true);
  if (!status)
    status = mover_copy(&work);
  call->device_us = work.device_us;
  if (status)
    fail(call, status, "copying");
  else
    write_result(w, &work, device_path(from.place.segment, to.place.segment));
  interface_place_give(call, &from);
  interface_place_give(call, &to);
}

/* memory.fill. What is new and belongs to nobody yet need not be read again. */
static void fill(struct interface_call *call, struct writer *w) {
  uint64_t size = reader_uint(reader_get(call->data, "size_bytes"), 0);
  struct interface_place_end to = {0};
  enum status status = interface_place_take(call, reader_get(call->data, "target"), size, &to);
  struct mover_work work = {.to = to.place,
                            .size = size,
                            .verify = reader_bool(reader_get(call->data, "verify"), true),
                            .value = (uint8_t)reader_uint(reader_get(call->data, "value"), 0),
                            .cancel = &call->cancel,
                            .progress = interface_progress,
                            .arg = call};
  if (!status)
    status = mover_fill(&work);
  call->device_us = work.device_us;
  if (status)
    fail(call, status, "filling");
  else
    write_result(w, &work, DEVICE_PATH_SAME);
  interface_place_give(call, &to);
}

/* ---- transfers under way ---- */

static void get_transfer(struct interface_call *call, struct writer *w) {
  uint64_t done, total;
  if (!call->transfer[0] || !interface_look(call, call->transfer, &done, &total)) {
    problem_set(&call->problem, STATUS_TRANSFER_NOT_FOUND, "no transfer %s is under way here",
                call->transfer);
    return;
  }
  writer_text(w, "status", "in_progress");
  writer_uint(w, "bytes", done);
  writer_uint(w, "bytesTotal", total);
  writer_null(w, "checksum");
}

static void cancel_transfer(struct interface_call *call, struct writer *w) {
  if (call->transfer[0] && interface_cancel(call, NULL, call->transfer))
    writer_bool(w, "cancelled", true);
  else
    problem_set(&call->problem, STATUS_TRANSFER_NOT_FOUND, "no transfer %s is under way here",
                call->transfer);
}

static void cancel(struct interface_call *call, struct writer *w) {
  struct buf raw BUF_CLEANUP;
  buf_init(&raw, INTERFACE_ID - 1);
  reader_dump(reader_get(call->data, "request_id"), &raw);
  writer_bool(w, "cancelled", interface_cancel(call, buf_text(&raw), NULL));
}

/* ---- segments ---- */

/* Answered when it is unmapped and closed; somebody may still be using it. */
static void drop(struct interface_call *call, struct writer *w) {
  uint64_t id = id_parse(ID_SEGMENT, reader_text(reader_get(call->data, "segment_id"), ""));
  enum status status;
  while ((status = manager_drop(interface_manager(call), id)) == STATUS_ALLOCATION_BUSY)
    interface_progress(call, 0);
  writer_bool(w, "dropped", !status);
}

static void ping(struct interface_call *call, struct writer *w) {
  (void)call;
  writer_bool(w, "ok", true);
}

static const struct interface_action actions[] = {
    {"memory.initialize", NULL, INTERFACE_QUICK, interface_state_initialize},
    {"memory.get_status", NULL, INTERFACE_QUICK, interface_state_status},
    {"memory.get_model_info", NULL, INTERFACE_QUICK, interface_state_model_info},
    {"memory.load_model", NULL, INTERFACE_MOVES, interface_load_run},
    {"memory.unload_model", NULL, INTERFACE_QUICK, interface_state_give_model},
    {"memory.park_model", NULL, INTERFACE_QUICK, interface_state_give_model},
    {"memory.optimize", "memory.model_optimize", INTERFACE_QUICK, interface_state_optimize},
    {"memory.pressure_check", "memory.get_pressure", INTERFACE_QUICK, interface_state_pressure},
    {"memory.model_status", "memory.get_model_status", INTERFACE_QUICK, interface_state_models},
    {"memory.clear", NULL, INTERFACE_QUICK, interface_state_clear},
    {"memory.cleanup", NULL, INTERFACE_QUICK, interface_state_cleanup},
    {"memory.defragment", NULL, INTERFACE_MOVES, interface_defragment_run},
    {"memory.transfer", NULL, INTERFACE_MOVES, transfer},
    {"memory.get_transfer", NULL, INTERFACE_QUICK, get_transfer},
    {"memory.cancel_transfer", NULL, INTERFACE_QUICK, cancel_transfer},
    {"memory.copy", NULL, INTERFACE_MOVES, transfer},
    {"memory.fill", NULL, INTERFACE_MOVES, fill},
    {"segment.drop", NULL, INTERFACE_WAITS, drop},
    {"cancel", NULL, INTERFACE_QUICK, cancel},
    {"ping", NULL, INTERFACE_QUICK, ping},
};

const struct interface_action *interface_actions_find(const char *name) {
  for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
    if (!strcmp(actions[i].name, name) || (actions[i].alias && !strcmp(actions[i].alias, name)))
      return &actions[i];
  return NULL;
}

void interface_actions_names(struct writer *w) {
  for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
    writer_text(w, NULL, actions[i].name);
}
