/*
 * policy_preset: the words of `strategy` and what each of them means. One table.
 */
#ifndef MODEL_POLICY_PRESET_H
#define MODEL_POLICY_PRESET_H

#include "model/policy.h"

struct policy_preset {
  const char *name;
  enum policy_strategy strategy;
  uint8_t target_percent; /* used, where the caller names none */
  bool park, drop, prefer_ram;
  uint64_t min_residency_ns, min_idle_ns;
  uint32_t max_models; /* a call */
  uint32_t min_loads;
};
/* By rising index, NULL after the last: for help texts and choice lists. */
const struct policy_preset *policy_preset_at(uint32_t index);
/* "fifo" … "smart"; NULL: there is none. Static. */
const struct policy_preset *policy_preset_find(const char *name);
/* Params with all that a preset says; the rest is {0} but for max_priority, the highest. */
struct policy_params policy_preset_params(const struct policy_preset *preset);

#endif
