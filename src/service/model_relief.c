/*
 * model_relief: hysteresis instead of haste: a relief is one optimisation down to the target, and
 * the next one comes only after use was RELIEF_AGAIN points below the trigger. So memory that
 * nobody can give back is asked for once, not every second.
 */
#include "service/model_relief.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "model/policy_preset.h"
#include "service/job_work.h"
#include "service/model_unload.h"
#include "service/strain.h"
#include "service/work.h"
#include "service/worker_relief.h"

#define RELIEF_AGAIN 500 /* hundredths of a percent: contract 8 */
/* Whoever asks for a model attaches it next: nobody waits for a relief so hard that it has to come
 * in between. */
#define RELIEF_IDLE_NS CLOCK_SECOND

const struct caller model_relief_caller = {
    .role = CALLER_ADMIN, .domain_name = "memkeepd", .correlation = "relief"};

/* ---- pressure ---- */

/* Under the lock: a model of the device is being loaded or moved. */
static bool is_worked_on(const struct service *s, uint32_t device) {
  for (const struct models_weights *w = s->models->weights; w; w = w->next)
    if (w->home == device && w->work)
      return true;
  return false;
}

/* Under the lock: a crossing that was not answered yet, or only while models were worked on, which
 * could not go then: what crosses the trigger is a load. */
static bool crosses(struct service *s, uint32_t device) {
  struct models *models = s->models;
  uint32_t percent = state_percent(s, &s->devices[device]);
  uint32_t trigger = models->relief.trigger;
  bool worked_on = is_worked_on(s, device);
  if (percent + RELIEF_AGAIN < trigger)
    models->relieved[device] = models->relieved_early[device] = false;
  bool again = models->relieved_early[device] && !worked_on;
  if ((models->relieved[device] && !again) || percent < trigger || !models->relief.trigger)
    return false;
  models->relieved[device] = true;
  models->relieved_early[device] = worked_on;
  return true;
}

/* Under the lock: pins are all that is left in the way, and the configuration lets them go. */
static bool is_last_resort(struct service *s, uint32_t device) {
  struct models *models = s->models;
  bool critical = s->devices[device].pressure.level == PRESSURE_CRITICAL;
  if (!critical)
    models->last_resort[device] = false;
  if (!critical || models->last_resort[device])
    return false;
  models->last_resort[device] = models->relief.pinned_too &&
                                !strain_has_way_out(s, device, false) &&
                                strain_has_way_out(s, device, true);
  return models->last_resort[device];
}

/* Out of pressure, where a pin is broken: no further. */
static uint64_t target_of(const struct service *s, uint32_t device) {
  uint64_t target = s->models->relief.target;
  uint64_t calm = units_minus(s->thresholds.high, PRESSURE_HYSTERESIS);
  return (s->models->last_resort[device] ? units_max(target, calm) : target) / 100;
}

struct job *model_relief_begin(struct service *s, uint32_t device) {
  struct model_optimize params = {.target_percent = target_of(s, device),
                                  .pinned_too = s->models->last_resort[device],
                                  .young_wait = true,
                                  .max_models = UINT64_MAX,
                                  .max_time_ms = 30000,
                                  .min_idle_ns = RELIEF_IDLE_NS,
                                  .strategy = (int)s->models->relief.strategy};
  struct model_optimized out;
  struct problem problem;
  snprintf(params.device, sizeof params.device, "%s", s->devices[device].info->id);
  lock_take(&s->lock);
  bool any = s->models->weights != NULL;
  lock_give(&s->lock);
  if (!any)
    return NULL;
  log_info("service", "%s is over %u %%: models make room", params.device,
           (unsigned)s->models->relief.trigger / 100);
  if (model_optimize_start(s, &model_relief_caller, &params, &out, &problem))
    log_warning("service", "%s: no relief: %s", params.device, problem.text);
  return out.job;
}

/* ---- stalls ---- */

/* Under the lock: all programs wait for memory, which was not answered yet. */
static bool begins_to_stall(struct service *s) {
  bool stalls = pressure_stall_level(&s->stalls, clock_now()) >= PRESSURE_HIGH;
  bool begins = stalls && !s->models->stalls;
  s->models->stalls = stalls;
  return begins;
}

/* What host memory holds for speed alone goes, however little of it is used: caches, and copies of
 * models that stay on their cards. */
static void clear_host_memory(struct service *s) {
  struct work_clear params = {.scope = WORK_CLEAR_CACHE};
  struct work_started started;
  struct problem problem;
  for (uint32_t i = 0; i < s->device_count; i++) {
    if (!s->devices[i].info->host_memory)
      continue;
    snprintf(params.device, sizeof params.device, "%s", s->devices[i].info->id);
    if (work_clear_start(s, &model_relief_caller, &params, &started, &problem))
      log_warning("service", "%s: no relief: %s", params.device, problem.text);
    else
      job_give(started.job);
  }
}

/* ---- idle ones ---- */

static bool was_idle(const struct models_model *model) {
  uint64_t idle = units_minus(clock_real(), model->last_used_at);
  return model->keep_alive_seconds && !model->pinned && !model->work &&
         idle >= state_ns(model->keep_alive_seconds, CLOCK_SECOND);
}

/* Under the lock: all names of the weights are idle. */
static bool all_idle(const struct service *s, const struct models_weights *weights) {
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry; entry = idmap_next(&s->models->ids, entry->id)) {
    const struct models_model *model = models_at(s, entry->value);
    if (model->weights == weights && !was_idle(model))
      return false;
  }
  return true;
}

/* Under the lock. */
static void send_idle_away(struct service *s) {
  for (struct models_weights *w = s->models->weights; w; w = w->next) {
    bool host = models_home_is_host(s, w);
    if (w->work || !w->has[host ? MODELS_RAM : MODELS_CARD] || models_attachments(s, w) ||
        !all_idle(s, w))
      continue;
    struct job *job =
        model_unload_victim(s, &model_relief_caller, w, host ? POLICY_DROP : POLICY_PARK);
    if (job)
      job_give(job);
  }
}

void model_relief_look(struct service *s) {
  bool crossed[VIEW_DEVICES] = {false};
  worker_relief_look(s);
  lock_take(&s->lock);
  for (uint32_t i = 0; i < s->device_count; i++)
    crossed[i] = crosses(s, i) || is_last_resort(s, i);
  bool stalls = begins_to_stall(s);
  send_idle_away(s);
  lock_give(&s->lock);
  if (stalls && s->mover)
    clear_host_memory(s);
  for (uint32_t i = 0; i < s->device_count; i++)
    if (crossed[i])
      worker_relief_start(s, i);
}
