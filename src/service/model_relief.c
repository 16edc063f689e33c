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
#include "service/worker_relief.h"

#define RELIEF_AGAIN 500 /* hundredths of a percent: contract 8 */

static const struct caller ourselves = {
    .role = CALLER_ADMIN, .domain_name = "memkeepd", .correlation = "relief"};

/* ---- pressure ---- */

/* Under the lock: a crossing that was not answered yet. */
static bool crosses(struct service *s, uint32_t device) {
  struct models *models = s->models;
  uint32_t percent = state_percent(s, &s->devices[device]);
  uint32_t trigger = models->relief.trigger;
  if (percent + RELIEF_AGAIN < trigger)
    models->relieved[device] = false;
  if (models->relieved[device] || percent < trigger || !models->relief.trigger)
    return false;
  models->relieved[device] = true;
  return true;
}

struct job *model_relief_begin(struct service *s, uint32_t device) {
  struct model_optimize params = {.target_percent = s->models->relief.target / 100,
                                  .max_models = UINT64_MAX,
                                  .max_time_ms = 30000,
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
  if (model_optimize_start(s, &ourselves, &params, &out, &problem))
    log_warning("service", "%s: no relief: %s", params.device, problem.text);
  return out.job;
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
    struct job *job = model_unload_victim(s, &ourselves, w, !host);
    if (job)
      job_give(job);
  }
}

void model_relief_look(struct service *s) {
  bool crossed[VIEW_DEVICES] = {false};
  lock_take(&s->lock);
  for (uint32_t i = 0; i < s->device_count; i++)
    crossed[i] = crosses(s, i);
  send_idle_away(s);
  lock_give(&s->lock);
  for (uint32_t i = 0; i < s->device_count; i++)
    if (crossed[i])
      worker_relief_start(s, i);
}
