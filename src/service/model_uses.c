/*
 * model_uses: a ring of counts; those that were passed over are cleared with the next use.
 */
#include "service/model_uses.h"

#include "base/clock.h"

#define SLOT_NS (300 * CLOCK_SECOND)

void model_uses_add(struct model_uses *uses, uint64_t now_ns) {
  uint64_t slot = now_ns / SLOT_NS;
  for (unsigned i = 0; i < MODEL_USES_SLOTS && uses->slot < slot; i++)
    uses->counts[++uses->slot % MODEL_USES_SLOTS] = 0;
  uses->slot = slot;
  uint16_t *count = &uses->counts[slot % MODEL_USES_SLOTS];
  *count = (uint16_t)(*count + (*count < UINT16_MAX));
}

uint32_t model_uses_hour(const struct model_uses *uses, uint64_t now_ns) {
  uint64_t now = now_ns / SLOT_NS, oldest = now < MODEL_USES_SLOTS ? 0 : now - MODEL_USES_SLOTS + 1;
  uint32_t sum = 0;
  for (uint64_t slot = oldest; slot <= uses->slot; slot++)
    sum += uses->slot - slot < MODEL_USES_SLOTS ? uses->counts[slot % MODEL_USES_SLOTS] : 0;
  return sum;
}
