/*
 * effects: a list of the transfers that are answerable, short as there are few of them at a time;
 * those whose time is over leave it when the next one begins.
 */
#include "service/effects.h"

#include <stdlib.h>

struct effects {
  struct effects *next;
  struct job *job; /* ours */
  struct effects_of of;
  uint64_t until; /* clock_now(); UINT64_MAX: it is under way */
};

static void set_known(struct job_view *view, void *arg) {
  (void)arg;
  view->result.transfer.effects_known = true;
}

static void count(struct job_view *view, void *arg) {
  struct job_transfer *transfer = &view->result.transfer;
  uint8_t *counter =
      *(enum effects_kind *)arg == EFFECTS_WAITED ? &transfer->waited : &transfer->evicted;
  if (*counter < UINT8_MAX)
    ++*counter;
}

static void forget(struct service *s, uint64_t until) {
  struct effects **link = &s->effects;
  while (*link) {
    struct effects *one = *link;
    if (one->until > until) {
      link = &one->next;
      continue;
    }
    *link = one->next;
    job_give(one->job);
    free(one);
  }
}

void effects_begin(struct service *s, struct job *job, const struct effects_of *of) {
  struct effects *one = malloc(sizeof *one);
  forget(s, clock_now());
  if (!one)
    return;
  *one = (struct effects){s->effects, job_keep(job), *of, UINT64_MAX};
  s->effects = one;
  job_update(job, set_known, NULL);
}

void effects_end(struct service *s, const struct job *job) {
  for (struct effects *one = s->effects; one; one = one->next)
    if (one->job == job) {
      one->until = clock_now() + EFFECTS_AFTER;
      one->of.weights = NULL;
    }
}

void effects_weights(struct service *s, const struct models_weights *weights) {
  enum effects_kind kind = EFFECTS_WAITED;
  for (struct effects *one = s->effects; one; one = one->next)
    if (one->of.weights == weights)
      job_update(one->job, count, &kind);
}

void effects_space(struct service *s, uint32_t device, uint64_t missing, enum effects_kind kind) {
  uint64_t now = clock_now();
  for (struct effects *one = s->effects; one && missing; one = one->next)
    if (one->of.target == device && one->of.bytes >= missing && one->until > now)
      job_update(one->job, count, &kind);
}

void effects_free(struct service *s) { forget(s, UINT64_MAX); }
