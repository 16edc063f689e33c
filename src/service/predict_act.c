/*
 * predict_act: whether room was needed is asked of the figures once a second: use, and what is gone
 * because of acts and is not back by itself.
 */
#include "service/predict_act.h"

#include "base/clock.h"
#include "base/units.h"
#include "service/model_room.h"

static struct events_record event_of(const struct predict_act *act, enum events_type type) {
  struct events_record event = {.type = (uint8_t)type,
                                .subject = act->id,
                                .bytes = act->bytes,
                                .device = (uint8_t)(act->device + 1),
                                .detail = (uint8_t)act->kind};
  bool park = act->kind == PREDICT_PARK;
  event.other = park ? act->high_ns / CLOCK_MS : act->models[0];
  event.other_device = park ? 0 : (uint8_t)(act->confidence / 100);
  return event;
}

static void tell_end(struct service *s, enum predict_kind kind) {
  struct events_record event = {.type = EVENTS_PREDICTION_DISABLED, .detail = (uint8_t)kind};
  uint32_t share;
  event.bytes = predict_score_recent(&s->predict->scores[kind], &share);
  event.other = share;
  events_add(s->events, &event);
}

static void judge(struct service *s, struct predict_act *act, bool needed) {
  struct predict_score *score = &s->predict->scores[act->kind];
  struct events_record event = event_of(act, EVENTS_PREDICTION_JUDGED);
  bool was_off = score->off;
  event.detail |= needed ? PREDICT_NEEDED : 0;
  predict_score_judge(score, needed);
  events_add(s->events, &event);
  if (score->off && !was_off)
    tell_end(s, act->kind);
  act->id = 0;
}

static struct predict_act *find(struct predict *predict, uint64_t id) {
  for (uint32_t i = 0; i < PREDICT_ACT_MAX; i++)
    if (predict->acts[i].id == id)
      return &predict->acts[i];
  return NULL;
}

bool predict_act_may(const struct service *s, enum predict_kind kind) {
  struct predict *predict = s->predict;
  return predict->params.on && !predict->scores[kind].off && !s->stopping && find(predict, 0);
}

uint64_t predict_act_begin(struct service *s, struct predict_act *act) {
  struct predict_act *place = find(s->predict, 0);
  act->id = ledger_next_id(s->ledger);
  s->predict->scores[act->kind].made += place != NULL;
  if (place)
    *place = *act;
  struct events_record event = event_of(act, EVENTS_PREDICTION_MADE);
  events_add(s->events, &event);
  return act->id;
}

void predict_act_forget(struct service *s, uint64_t id) {
  struct predict_act *act = find(s->predict, id);
  if (!act || !id)
    return;
  s->predict->scores[act->kind].made--;
  act->id = 0;
}

void predict_act_asked(struct service *s, uint64_t model, bool another) {
  for (uint32_t i = 0; i < PREDICT_ACT_MAX; i++) {
    struct predict_act *act = &s->predict->acts[i];
    if (!act->id || act->kind != PREDICT_PREFETCH)
      continue;
    if (act->models[0] == model)
      judge(s, act, true);
    else if (another && !--act->others)
      judge(s, act, false);
  }
}

/* What an act took off the device and has not come back to it. */
static uint64_t still_gone(const struct service *s, const struct predict_act *act) {
  uint64_t back = 0;
  for (uint32_t i = 0; i < act->model_count; i++) {
    uint32_t index = idmap_find(&s->models->ids, act->models[i]);
    const struct models_weights *weights = index ? models_at(s, index)->weights : NULL;
    back += weights ? model_room_bytes(s, weights, act->device) : 0;
  }
  return units_minus(act->bytes, back);
}

/* Use at which models have to go: high, or relief's trigger, which keeps it from ever being high.
 */
static uint32_t line_of(const struct service *s) {
  uint32_t trigger = s->models->relief.trigger;
  return trigger && trigger < s->thresholds.high ? trigger : s->thresholds.high;
}

static void look_at_device(struct service *s, uint32_t device) {
  uint64_t gone = 0, now = clock_now();
  for (uint32_t i = 0; i < PREDICT_ACT_MAX; i++) {
    const struct predict_act *act = &s->predict->acts[i];
    if (act->id && act->kind == PREDICT_PARK && act->device == device)
      gone += still_gone(s, act);
  }
  bool high = gone > state_left(s, &s->devices[device], line_of(s));
  for (uint32_t i = 0; i < PREDICT_ACT_MAX; i++) {
    struct predict_act *act = &s->predict->acts[i];
    bool room = act->kind == PREDICT_PARK;
    if (act->id && act->device == device && ((room && high) || now >= act->until_ns))
      judge(s, act, room && high);
  }
}

void predict_act_look(struct service *s) {
  for (uint32_t i = 0; i < s->device_count; i++)
    look_at_device(s, i);
}
