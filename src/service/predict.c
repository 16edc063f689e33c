/*
 * predict: the ends that others hold on to; what is done is in predict_room.c and predict_next.c.
 */
#include "service/predict.h"

#include <stdlib.h>

#include "base/log.h"
#include "service/predict_act.h"

const char *const predict_kinds[] = {"park", "prefetch"};

enum status predict_create(struct service *s) {
  s->predict = calloc(1, sizeof *s->predict);
  if (!s->predict)
    return STATUS_INTERNAL_ERROR;
  for (uint32_t i = 0; i < VIEW_DEVICES; i++)
    predict_room_init(&s->predict->rooms[i], s, i);
  predict_next_init(&s->predict->next, s);
  return STATUS_OK;
}

void predict_free(struct service *s) {
  if (!s->predict)
    return;
  for (uint32_t i = 0; i < VIEW_DEVICES; i++)
    job_give(s->predict->rooms[i].job);
  job_give(s->predict->next.job);
  free(s->predict);
}

void predict_set(struct service *s, const struct service_predict *params) {
  struct predict *predict = s->predict;
  LOCK_SCOPE(&s->lock);
  bool anew = params->on && !predict->params.on;
  predict->params = *params;
  for (int kind = 0; anew && kind < PREDICT_KINDS; kind++) {
    predict->scores[kind] = (struct predict_score){.made = 0};
    predict->told[kind] = false;
  }
}

void predict_look(struct service *s, struct predict_figures out[PREDICT_KINDS]) {
  LOCK_SCOPE(&s->lock);
  for (int kind = 0; kind < PREDICT_KINDS; kind++) {
    const struct predict_score *score = &s->predict->scores[kind];
    out[kind] = (struct predict_figures){.on = s->predict->params.on,
                                         .disabled = score->off,
                                         .made = score->made,
                                         .judged = score->judged,
                                         .needed = score->needed};
    out[kind].recent = predict_score_recent(score, &out[kind].share);
  }
}

void predict_used(struct service *s, uint64_t model) {
  struct predict *predict = s->predict;
  bool another = model != predict->next.successors.last;
  predict_act_asked(s, model, another);
  successor_add(&predict->next.successors, model);
  if (another && predict_act_may(s, PREDICT_PREFETCH))
    queue_post(s->decision, &predict->next.hop);
}

/* Said once, and without the lock. */
static void say_what_ended(const struct predict *predict, const bool ended[PREDICT_KINDS]) {
  for (int kind = 0; kind < PREDICT_KINDS; kind++) {
    uint32_t share;
    if (!ended[kind])
      continue;
    uint32_t recent = predict_score_recent(&predict->scores[kind], &share);
    log_warning("service", "prediction (%s) is off: of its last %u acts %u %% were needed",
                predict_kinds[kind], (unsigned)recent, (unsigned)share / 100);
  }
}

void predict_tick(struct service *s) {
  struct predict *predict = s->predict;
  bool ended[PREDICT_KINDS];
  lock_take(&s->lock);
  predict_act_look(s);
  for (int kind = 0; kind < PREDICT_KINDS; kind++) {
    ended[kind] = predict->scores[kind].off && !predict->told[kind];
    predict->told[kind] |= ended[kind];
  }
  lock_give(&s->lock);
  say_what_ended(predict, ended);
  for (uint32_t i = 0; i < s->device_count; i++)
    predict_room_look(&predict->rooms[i]);
}
