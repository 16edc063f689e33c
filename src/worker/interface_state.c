/*
 * interface_state: answers from the manager (what is mapped) and from told (what the daemon said).
 * What neither knows is null; what there is none of is 0 or empty.
 */
#include "worker/interface_state.h"

#include <string.h>

#include "base/log.h"
#include "worker/manager.h"
#include "worker/told.h"

/* Nothing that it says of itself can change: it has no models and no caches. */
#define INTERFACE_STATE_GENERATION 1

static const char *text_of(const struct interface_call *call, const char *name) {
  return reader_text(reader_get(call->data, name), "");
}

static void write_none(struct writer *w, const char *key) {
  writer_array(w, key);
  writer_end(w);
}

static void write_percent(struct writer *w, const char *key, const struct told_device *device) {
  if (device->pressure_known)
    writer_double(w, key, device->percent);
  else
    writer_null(w, key);
}

static void write_pressure(struct writer *w, const struct told_device *device) {
  writer_text(w, "pressureLevel", told_word(device));
  writer_text(w, "pressureCategory", told_word(device));
  write_percent(w, "pressurePercent", device);
}

/* ---- itself ---- */

static void add_device(struct interface_call *call, const char *text) {
  struct spec spec;
  enum status status = spec_parse(text, &spec, &call->problem);
  if (status)
    return;
  status = manager_add_device(interface_manager(call), &spec);
  if (status)
    log_warning("worker", "device %s cannot be used here: %s", spec.id, status_text(status));
}

void interface_state_initialize(struct interface_call *call, struct writer *w) {
  struct reader_value devices = reader_get(call->data, "devices");
  enum log_level level;
  if (log_parse_level(text_of(call, "log_level"), &level))
    log_set_level(level);
  told_initialize(interface_told(call), call->data);
  for (size_t i = 0; i < reader_count(devices) && !call->problem.status; i++)
    add_device(call, reader_text(reader_get(reader_at(devices, i), "spec"), ""));
  writer_bool(w, "ok", true);
}

void interface_state_status(struct interface_call *call, struct writer *w) {
  const char *name = text_of(call, "device_id");
  struct told_device device = told_of(interface_told(call), name);
  uint32_t segments;
  uint64_t mapped = manager_mapped(interface_manager(call), name, &segments);
  writer_bool(w, "initialized", manager_initialized(interface_manager(call)));
  write_none(w, "loadedModels");
  writer_uint(w, "memoryUsageBytes", 0); /* of its own: what it maps is the daemon's */
  if (device.limit_known)
    writer_uint(w, "memoryLimitBytes", device.max_bytes);
  else
    writer_null(w, "memoryLimitBytes");
  writer_null(w, "availableBytes"); /* the daemon's books say that */
  writer_uint(w, "reclaimableBytes", 0);
  writer_uint(w, "mappedBytes", mapped);
  writer_uint(w, "mappedSegments", segments);
  write_pressure(w, &device);
  write_none(w, "optimizationOpportunities");
  writer_uint(w, "generation", INTERFACE_STATE_GENERATION);
}

void interface_state_pressure(struct interface_call *call, struct writer *w) {
  struct told_device device = told_of(interface_told(call), text_of(call, "device_id"));
  told_judge(&device, reader_get(call->data, "thresholds"));
  write_pressure(w, &device);
  writer_uint(w, "reclaimableBytes", 0);
  write_none(w, "recommendedActions");
  write_none(w, "models");
}

/* ---- models ---- */

static void no_model(struct interface_call *call, const char *model) {
  problem_set(&call->problem, STATUS_MODEL_NOT_FOUND,
              "no model %.60s is held here: weights are the daemon's", model);
}

void interface_state_model_info(struct interface_call *call, struct writer *w) {
  if (text_of(call, "model_id")[0]) {
    no_model(call, text_of(call, "model_id"));
    return;
  }
  writer_object(w, "loadedModels");
  writer_end(w);
}

void interface_state_give_model(struct interface_call *call, struct writer *w) {
  (void)w;
  if (text_of(call, "model_id")[0])
    no_model(call, text_of(call, "model_id"));
  else
    problem_set(&call->problem, STATUS_MISSING_PARAMETER, "model_id says which");
}

void interface_state_models(struct interface_call *call, struct writer *w) {
  (void)call;
  write_none(w, "models");
  writer_object(w, "bytes");
  writer_uint(w, "device", 0);
  writer_uint(w, "ram", 0);
  writer_uint(w, "disk", 0);
  writer_end(w);
}

/* ---- giving back ---- */

void interface_state_optimize(struct interface_call *call, struct writer *w) {
  struct told_device device = told_of(interface_told(call), text_of(call, "device_id"));
  writer_bool(w, "optimized", false);
  write_none(w, "unloadedModels");
  writer_uint(w, "freedBytes", 0);
  write_percent(w, "usagePercentageBefore", &device);
  write_percent(w, "usagePercentageAfter", &device);
  writer_uint(w, "performanceImpact", 0);
}

void interface_state_clear(struct interface_call *call, struct writer *w) {
  static const char *const types[] = {"", "cache", "idle", "all"};
  const char *type = text_of(call, "clear_type");
  size_t i = 0;
  while (i < sizeof types / sizeof *types && strcmp(types[i], type) != 0)
    i++;
  if (i == sizeof types / sizeof *types)
    problem_set(&call->problem, STATUS_INVALID_ARGUMENT, "clear_type must be cache, idle or all");
  else
    writer_uint(w, "clearedBytes", 0);
}

void interface_state_cleanup(struct interface_call *call, struct writer *w) {
  (void)call;
  writer_uint(w, "freedBytes", 0);
  write_none(w, "unloadedModels");
  write_none(w, "failed");
}
