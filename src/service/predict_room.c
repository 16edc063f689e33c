/*
 * predict_room: what is wanted is the bytes by which use is foretold to be above high when the time
 * is over. After an act the device is left alone until its samples show what came of it, and the
 * forecast begins anew there: the fall that the act was would hide a rise that goes on.
 */
#include "service/predict_room.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/models.h"
#include "service/predict_act.h"
#include "service/usage.h"

#define ROOM_SETTLE_NS (15 * CLOCK_SECOND) /* half as long again as a forecast needs at least */
#define ROOM_AGAIN_NS (5 * CLOCK_SECOND)   /* when nobody could go */
#define ROOM_IDLE_NS (10 * CLOCK_SECOND)   /* nobody is guessed away who was used within it */
#define ROOM_TIME_MS 30000                 /* of one act, as of a relief */

static const struct caller ourselves = {
    .role = CALLER_ADMIN, .domain_name = "memkeepd", .correlation = "prediction"};

/* Under the lock. Which use is high, on the scale of the forecast; false: it is not looked at. */
static bool is_looked_at(const struct predict_room *room, double *high) {
  struct service *s = room->service;
  const struct state_device *device = &s->devices[room->device];
  uint64_t left = state_left(s, device, s->thresholds.high);
  *high = (double)(state_used(s, device) + left);
  return left && device->answering && !device->gone && s->models->weights && s->mover &&
         predict_act_may(s, PREDICT_PARK);
}

static void end(struct task *task) {
  struct predict_room *room =
      (struct predict_room *)((char *)task - offsetof(struct predict_room, hop));
  struct service *s = room->service;
  struct job_view view;
  job_look(room->job, &view);
  job_give(room->job);
  room->job = NULL;
  room->again_ns = clock_now() + ROOM_SETTLE_NS;
  const struct job_optimize *result = &view.result.optimize;
  if (!result->freed_bytes)
    return;
  struct predict_act act = {.kind = PREDICT_PARK,
                            .device = room->device,
                            .bytes = result->freed_bytes,
                            .high_ns = room->high_ns};
  while (act.model_count < result->count && act.model_count < PREDICT_ACT_MODELS) {
    act.models[act.model_count] = result->victims[act.model_count].model;
    act.model_count++;
  }
  LOCK_SCOPE(&s->lock);
  s->devices[room->device].step_at = s->devices[room->device].sample_count + 1;
  act.until_ns = clock_now() + 2 * s->predict->params.ns;
  predict_act_begin(s, &act);
}

static void done(struct job_waiter *waiter) {
  struct predict_room *room =
      (struct predict_room *)((char *)waiter - offsetof(struct predict_room, waiter));
  queue_post(room->service->decision, &room->hop);
}

static void begin(struct predict_room *room, double bytes, uint32_t strategy) {
  struct service *s = room->service;
  struct model_optimize params = {.target_percent = 100,
                                  .min_bytes = (uint64_t)bytes + 1,
                                  .max_models = PREDICT_ACT_MODELS,
                                  .max_time_ms = ROOM_TIME_MS,
                                  .min_idle_ns = ROOM_IDLE_NS,
                                  .strategy = (int)strategy,
                                  .keeps_all = true,
                                  .young_wait = true,
                                  .dry_run = true};
  struct model_optimized out;
  struct problem problem;
  snprintf(params.device, sizeof params.device, "%s", s->devices[room->device].info->id);
  room->again_ns = clock_now() + ROOM_AGAIN_NS;
  if (model_optimize_start(s, &ourselves, &params, &out, &problem) || !out.plan.count)
    return;
  params.dry_run = false;
  if (model_optimize_start(s, &ourselves, &params, &out, &problem) || !out.job)
    return;
  log_info("service", "%s is foretold to be high in %llu s: models make room", params.device,
           (unsigned long long)(room->high_ns / CLOCK_SECOND));
  room->job = out.job;
  if (!job_wait(room->job, &room->waiter))
    done(&room->waiter);
}

void predict_room_look(struct predict_room *room) {
  struct service *s = room->service;
  double high;
  if (room->job || clock_now() < room->again_ns)
    return;
  lock_take(&s->lock);
  bool looked_at = is_looked_at(room, &high);
  uint32_t strategy = s->models->relief.strategy;
  double seconds = (double)s->predict->params.ns / 1e9;
  lock_give(&s->lock);
  if (!looked_at)
    return;
  struct forecast forecast = usage_forecast(s, room->device);
  double excess = forecast_excess(&forecast, high, seconds);
  if (!(excess > 0))
    return;
  room->high_ns = (uint64_t)(forecast_when(&forecast, high).expected * 1e9);
  begin(room, excess, strategy);
}

void predict_room_init(struct predict_room *room, struct service *s, uint32_t device) {
  room->service = s;
  room->device = device;
  room->hop.run = end;
  room->waiter.ready = done;
}
