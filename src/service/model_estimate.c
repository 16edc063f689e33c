/*
 * model_estimate: what was measured is the model's segments, and on a card also what the driver's
 * figure grew by that nothing in the ledger explains. The host's figure moves with every program on
 * it, so there the segments are all that is believed.
 */
#include "service/model_estimate.h"

#include <string.h>

#include "base/units.h"

static uint64_t segments_of(const struct service *s, const struct models_weights *weights,
                            unsigned copy) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < weights->part_count; i++) {
    uint32_t index = idmap_find(&s->alloc_ids, weights->parts[i].at[copy]);
    bytes += index ? state_segment(s, state_alloc(s, index)->segment)->size : 0;
  }
  return bytes;
}

static const struct models_learned *find(const struct service *s, const struct models_facts *facts,
                                         uint32_t device) {
  static const struct models_learned none = {.device = 0};
  for (uint32_t i = 0; device < s->device_count && i < MODELS_LEARNED; i++)
    if (facts->learned[i].device && facts->learned[i].device == s->devices[device].record)
      return &facts->learned[i];
  return &none;
}

struct estimate model_estimate_on(const struct service *s, const struct models_facts *facts,
                                  uint32_t device, uint64_t known_bytes) {
  return estimate_make(facts->weights_bytes, known_bytes, &find(s, facts, device)->of);
}

struct estimate model_estimate_of(const struct service *s, const struct models_model *model) {
  const struct models_weights *weights = model->weights;
  uint32_t home = weights ? weights->home : model->home;
  uint64_t known = find(s, &model->facts, home)->known_bytes;
  if (!known && weights)
    known = segments_of(s, weights, models_home_copy(s, weights));
  return model_estimate_on(s, &model->facts, home, known);
}

void model_estimate_begin(struct model_work *work) {
  work->external_before = work->service->devices[work->weights->home].external;
}

/* The device's place, which is the first one then; the one that was used last before falls out. */
static struct models_learned *place_for(struct models_facts *facts, uint64_t device) {
  struct models_learned *learned = facts->learned, found = {.device = device};
  uint32_t i = 0;
  while (i < MODELS_LEARNED - 1 && learned[i].device != device)
    i++;
  if (learned[i].device == device)
    found = learned[i];
  memmove(learned + 1, learned, i * sizeof *learned);
  learned[0] = found;
  return learned;
}

void model_estimate_end(struct model_work *work) {
  const struct service *s = work->service;
  const struct models_weights *weights = work->weights;
  const struct state_device *home = &s->devices[weights->home];
  unsigned copy = home->info->host_memory ? MODELS_RAM : MODELS_CARD;
  uint32_t index = idmap_find(&s->models->ids, work->model);
  if (!work->takes[copy] || !home->record)
    return;
  uint64_t known = segments_of(s, weights, copy), measured = known;
  if (!home->info->host_memory)
    measured += units_minus(home->external, work->external_before);
  struct models_learned *learned = place_for(&models_at(s, index)->facts, home->record);
  learned->known_bytes = known;
  estimate_learn(&learned->of, known, measured);
}
