/*
 * model_worth: the sum over the names that weights have.
 */
#include "service/model_worth.h"

#include "base/clock.h"
#include "service/model_room.h"

double model_worth_of(const struct service *s, const struct models_weights *weights,
                      uint64_t bytes) {
  uint64_t uses = 0, now = clock_now();
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry; entry = idmap_next(&s->models->ids, entry->id))
    if (models_at(s, entry->value)->weights == weights)
      uses += model_uses_hour(&models_at(s, entry->value)->uses, now);
  return (double)bytes * (double)uses;
}

double model_worth_all(struct service *s, uint32_t device) {
  struct model_room_picture picture;
  double sum = 0;
  for (uint32_t d = 0; d < s->device_count; d++) {
    if ((device != UINT32_MAX && device != d) || model_room_look(s, d, &picture))
      continue;
    for (uint32_t i = 0; i < picture.snapshot.count; i++)
      if (!picture.models[i].spare)
        sum += model_worth_of(s, picture.weights[i], picture.models[i].bytes);
    model_room_free(&picture);
  }
  return sum;
}

uint32_t model_worth_share(double gone, double all) {
  return all > 0 ? (uint32_t)(10000 * (gone < all ? gone / all : 1)) : 0;
}
