/*
 * strain: whether there is a way out is looked at when somebody asks, as long as the device is
 * critical; whether it lasts, and when it is over, once a second (memory/pressure). A relief that
 * is under way, or still to come, is a way out: whoever promised has his chance first.
 */
#include "service/strain.h"

#include <stdio.h>

#include "base/clock.h"
#include "service/model_room.h"
#include "service/worker_relief.h"

static bool is_pinned(const struct service *s, const struct models_weights *weights) {
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry; entry = idmap_next(&s->models->ids, entry->id)) {
    const struct models_model *model = models_at(s, entry->value);
    if (model->weights == weights && model->pinned)
      return true;
  }
  return false;
}

/* What is being worked on may be on its way out. */
static bool may_go(const struct service *s, const struct models_weights *weights, uint32_t device,
                   bool pinned) {
  if (!model_room_bytes(s, weights, device))
    return false;
  return weights->work || (!models_attachments(s, weights) && (pinned || !is_pinned(s, weights)));
}

bool strain_has_way_out(const struct service *s, uint32_t device, bool pinned) {
  if (s->devices[device].cached || worker_relief_may_give(s, device))
    return true;
  for (const struct models_weights *w = s->models->weights; w; w = w->next)
    if (may_go(s, w, device, pinned))
      return true;
  return false;
}

static bool is_stuck(const struct service *s, uint32_t device) {
  const struct state_device *d = &s->devices[device];
  return pressure_next(&s->thresholds, d->pressure.level, state_percent(s, d)) ==
             PRESSURE_CRITICAL &&
         !strain_has_way_out(s, device, false);
}

bool strain_keeps_out(const struct service *s, uint32_t device, int priority) {
  return priority < VIEW_PRIORITY_CRITICAL && (s->devices[device].strain.on || is_stuck(s, device));
}

enum status strain_refuse(const struct service *s, uint32_t device, uint64_t bytes,
                          struct problem *problem) {
  problem_set(problem, STATUS_INSUFFICIENT_MEMORY,
              "pressure on %s is critical and nothing can be taken back: only what has priority "
              "critical gets memory",
              s->devices[device].info->id);
  problem->has_space = true;
  state_space_problem(s, &s->devices[device], bytes, &problem->space);
  snprintf(problem->space.reason, sizeof problem->space.reason, "pressure");
  return problem->status;
}

void strain_met(struct service *s, uint32_t device) { s->devices[device].strain.on = true; }

void strain_look(struct service *s) {
  for (uint32_t i = 0; i < s->device_count; i++) {
    struct state_device *device = &s->devices[i];
    struct pressure_sight sight = {.stuck = is_stuck(s, i),
                                   .below_high = state_percent(s, device) < s->thresholds.high,
                                   .now_ns = clock_now()};
    pressure_strain_next(&device->strain, &sight);
  }
}
