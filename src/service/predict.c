/*
 * predict: the ends that others hold on to; what is done is in predict_room.c and predict_next.c.
 */
#include "service/predict.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/models.h"
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

void predict_learn(struct service *s) { predict_next_learn(&s->predict->next); }

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

void predict_used(struct service *s, const struct models_model *model) {
  struct predict *predict = s->predict;
  uint64_t hash = models_hash(model->name);
  bool another = hash != predict->next.successors.last;
  predict_act_asked(s, model->id, another);
  if (another)
    history_use(s->history, clock_real(), hash);
  successor_add(&predict->next.successors, hash);
  predict->next.asked_ns = clock_now();
  if (predict->next.failed == model->id)
    predict->next.failed = 0;
  predict_next_look(&predict->next);
}

/* Under the lock: kinds that have ended since the last time. */
static bool note_ends(struct predict *predict, bool ended[PREDICT_KINDS]) {
  bool any = false;
  for (int kind = 0; kind < PREDICT_KINDS; kind++) {
    ended[kind] = predict->scores[kind].off && !predict->told[kind];
    predict->told[kind] |= ended[kind];
    any |= ended[kind];
  }
  return any;
}

static void say_what_ended(struct service *s, const bool ended[PREDICT_KINDS]) {
  struct predict_figures figures[PREDICT_KINDS];
  predict_look(s, figures);
  for (int kind = 0; kind < PREDICT_KINDS; kind++)
    if (ended[kind])
      log_warning("service", "prediction (%s) is off: of its last %u acts %u %% were needed",
                  predict_kinds[kind], (unsigned)figures[kind].recent,
                  (unsigned)figures[kind].share / 100);
}

void predict_tick(struct service *s) {
  bool ended[PREDICT_KINDS];
  lock_take(&s->lock);
  predict_act_look(s);
  predict_next_look(&s->predict->next);
  bool any = note_ends(s->predict, ended);
  lock_give(&s->lock);
  if (any)
    say_what_ended(s, ended);
  for (uint32_t i = 0; i < s->device_count; i++)
    predict_room_look(&s->predict->rooms[i]);
}
