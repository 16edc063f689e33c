/*
 * predict_act: acts that were not judged yet. An act to make room was needed if without it models
 * would have had to go within twice the time that was looked ahead, because use was high or at
 * relief's trigger; a model that was brought into RAM, if it was asked for within ten minutes, and
 * before PREDICT_ACT_OTHERS requests for others. Private to this room; under the state lock.
 */
#ifndef SERVICE_PREDICT_ACT_H
#define SERVICE_PREDICT_ACT_H

#include "service/predict_next.h"
#include "service/predict_room.h"
#include "service/predict_score.h"
#include "service/state.h"

#define PREDICT_ACT_MAX 32 /* at a time: more is not done ahead */
#define PREDICT_ACT_MODELS 16
#define PREDICT_ACT_ASKED_NS (600 * CLOCK_SECOND)
#define PREDICT_ACT_OTHERS 8

struct predict_act {
  uint64_t id; /* 0: none */
  enum predict_kind kind;
  uint32_t device;
  uint64_t bytes;    /* that were freed, or are brought */
  uint64_t until_ns; /* clock_now(): it was not needed if it was not by then */
  uint64_t models[PREDICT_ACT_MODELS];
  uint32_t model_count;
  uint32_t others; /* requests for other models that may come first */
  /* Its forecast. */
  uint64_t high_ns;    /* park: time until use is high */
  uint32_t confidence; /* prefetch: hundredths of a percent */
};

struct predict {
  struct service_predict params;
  struct predict_score scores[PREDICT_KINDS];
  bool told[PREDICT_KINDS]; /* the log, that it is off */
  struct predict_act acts[PREDICT_ACT_MAX];
  struct predict_room rooms[VIEW_DEVICES];
  struct predict_next next;
};

/* Whether acts of this kind are wanted, and there is room for one more. */
bool predict_act_may(const struct service *s, enum predict_kind kind);
/* Tells of it, and keeps it until it is judged. Its id. */
uint64_t predict_act_begin(struct service *s, struct predict_act *act);
/* It came to nothing: there is nothing to judge. */
void predict_act_forget(struct service *s, uint64_t id);
/* A model was asked for; `another` than the last time. */
void predict_act_asked(struct service *s, uint64_t model, bool another);
/* What has come since, and whose time is over. */
void predict_act_look(struct service *s);

#endif
