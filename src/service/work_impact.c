/*
 * work_impact: rates are those that were measured; what was never measured is not foretold.
 */
#include "service/work_impact.h"

#include <stdio.h>

#include "base/units.h"
#include "service/strain.h"

static enum pressure_level level_after(const struct service *s, const struct state_device *device,
                                       uint64_t comes, uint64_t goes) {
  struct pressure_figures figures = {.used_bytes = units_minus(state_used(s, device) + comes, goes),
                                     .reclaimable_cache_bytes = device->cached,
                                     .total_bytes = device->info->total_bytes,
                                     .committed_bytes =
                                         units_minus(device->committed + comes, goes),
                                     .limit_bytes = device->limit};
  return pressure_next(&s->thresholds, device->pressure.level, pressure_percent(&figures));
}

/* From device to device; VIEW_DEVICES: from nowhere. Negative: not known. */
static double seconds_over(const struct service *s, uint32_t from, uint32_t to, uint64_t bytes) {
  double rate = from < s->device_count ? s->devices[from].rates[to] : 0;
  return rate > 0 ? (double)bytes / rate : -1;
}

/* To have it on `home` again: from the copy in host memory that would be left, else from its files.
 */
static double resume_seconds(const struct service *s, const struct models_model *model,
                             uint32_t home, uint32_t ram) {
  if (!s->devices[home].info->host_memory && ram < s->device_count)
    return seconds_over(s, ram, home, model->facts.size);
  return model->facts.load_ns ? (double)model->facts.load_ns / 1e9 : -1;
}

static void tell_model(const struct service *s, const struct work_impact_of *of,
                       struct work_impact *out) {
  uint32_t index = models_first_of(s, of->weights);
  const struct models_model *model = models_at(s, index);
  uint32_t home = of->weights->home, ram = models_device_of(s, of->weights, MODELS_RAM);
  if (!index)
    return;
  out->of_model = true;
  out->model.id = model->id;
  snprintf(out->model.name, sizeof out->model.name, "%s", model->name);
  out->model.busy = models_attachments(s, of->weights) > 0;
  out->model.resume_before = out->model.resume_after = resume_seconds(s, model, home, ram);
  if (!of->moves_model)
    return;
  if (s->devices[of->source].info->host_memory)
    ram = VIEW_DEVICES; /* that copy is what moves */
  out->model.resume_after = resume_seconds(s, model, of->target, ram);
}

struct work_impact work_impact_foretell(const struct service *s, const struct work_impact_of *of) {
  const struct state_device *source = &s->devices[of->source];
  const struct state_device *target = &s->devices[of->target];
  uint64_t available = state_available(s, target);
  bool strained = of->comes && strain_keeps_out(s, of->target, of->priority);
  struct work_impact out = {.would_fit = of->comes <= available && !strained,
                            .expected_seconds = seconds_over(s, of->source, of->target, of->size),
                            .target_available_after = units_minus(available, of->comes),
                            .target_pressure_after = level_after(s, target, of->comes, 0),
                            .source_pressure_after = level_after(s, source, 0, of->goes)};
  if (of->weights)
    tell_model(s, of, &out);
  return out;
}
