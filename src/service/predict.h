/*
 * predict: what is done before anybody asks, while the configuration says `predict = on` (contract
 * 8, Prediction): idle models are parked when use is foretold to be high soon (predict_room.h), and
 * the model that is likely to be asked for next is brought into host memory (predict_next.h). Each
 * act is told as an event, and judged afterwards by what came; a kind of act of which too few were
 * needed switches itself off (predict_score.h).
 */
#ifndef SERVICE_PREDICT_H
#define SERVICE_PREDICT_H

#include "base/status.h"
#include "service/service.h"

enum predict_kind { PREDICT_PARK, PREDICT_PREFETCH, PREDICT_KINDS };
extern const char *const predict_kinds[]; /* "park" "prefetch" */
#define PREDICT_NEEDED 0x80 /* in the detail of a prediction.judged, beside the kind: it was */

struct predict_figures {
  bool on, disabled; /* as configured; by itself */
  uint64_t made, judged, needed;
  uint32_t recent, share; /* judged of late; hundredths of a percent of them that were needed */
};
/* Any thread. */
void predict_look(struct service *service, struct predict_figures out[PREDICT_KINDS]);

/* ---- private to this room ---- */

enum status predict_create(struct service *s);
/* After the queues. */
void predict_free(struct service *s);
/* Takes the state lock. */
void predict_set(struct service *s, const struct service_predict *params);
struct models_model;
/* A model was asked for, by a load or an attach. Under the state lock. */
void predict_used(struct service *s, const struct models_model *model);
/* Once there is a history: learns from it who follows whom, on its thread. */
void predict_learn(struct service *s);
/* Once a second, on the decision thread, no lock held. */
void predict_tick(struct service *s);

#endif
