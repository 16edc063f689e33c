/*
 * policy_preset: five words are strategies as they are, four are a taste: how far to go, whether a
 * model may be dropped, and whom to leave alone.
 */
#include "model/policy_preset.h"

#include <string.h>

#include "base/clock.h"

#define POLICY_ALL UINT32_MAX
/* A model that stays n times as long as it took to load cannot make a device spend more than
 * 1 / (n + 1) of its time loading, and one that loads in no time needs no protection. A strategy
 * asked for by its name goes to a half, for whoever waits for the memory waits as long. */
#define POLICY_ONE_LOAD 1
#define POLICY_LOADS 4

static const struct policy_preset PRESETS[] = {
    /* the strategies by their names: 70 % is relief.target */
    {"fifo", POLICY_FIFO, 70, true, true, false, 0, 0, POLICY_ALL, POLICY_ONE_LOAD},
    {"lru", POLICY_LRU, 70, true, true, false, 0, 0, POLICY_ALL, POLICY_ONE_LOAD},
    {"lfu", POLICY_LFU, 70, true, true, false, 0, 0, POLICY_ALL, POLICY_ONE_LOAD},
    {"cost", POLICY_COST, 70, true, true, false, 0, 0, POLICY_ALL, POLICY_ONE_LOAD},
    {"priority", POLICY_PRIORITY, 70, true, true, false, 0, 0, POLICY_ALL, POLICY_ONE_LOAD},
    /* nothing that anybody notices: idle for a minute, back from RAM, no further than the trigger
     */
    {"conservative", POLICY_LRU, 80, true, false, false, 60 * CLOCK_SECOND, 60 * CLOCK_SECOND,
     POLICY_ALL, 2 * POLICY_LOADS},
    /* the fewest seconds of reloading for the bytes, and nobody in the middle of a burst */
    {"balanced", POLICY_COST, 70, true, true, false, 0, CLOCK_SECOND, POLICY_ALL, POLICY_LOADS},
    /* memory now, whatever it costs later: well below moderate pressure (75 %), nobody too young */
    {"aggressive", POLICY_COST, 50, true, true, false, 0, 0, POLICY_ALL, 0},
    /* as balanced, and a RAM copy counts: what is back in a moment goes before what is not */
    {"smart", POLICY_COST, 70, true, true, true, 0, CLOCK_SECOND, POLICY_ALL, POLICY_LOADS},
};

const struct policy_preset *policy_preset_at(uint32_t index) {
  return index < sizeof PRESETS / sizeof *PRESETS ? &PRESETS[index] : NULL;
}

const struct policy_preset *policy_preset_find(const char *name) {
  for (uint32_t i = 0; i < sizeof PRESETS / sizeof *PRESETS; i++)
    if (!strcmp(PRESETS[i].name, name))
      return &PRESETS[i];
  return NULL;
}

struct policy_params policy_preset_params(const struct policy_preset *preset) {
  return (struct policy_params){
      .strategy = preset->strategy,
      .park = preset->park,
      .drop = preset->drop,
      .max_models = preset->max_models,
      .max_priority = UINT8_MAX,
      .min_residency_ns = preset->min_residency_ns,
      .min_loads = preset->min_loads,
      .min_idle_ns = preset->min_idle_ns,
      .prefer_ram = preset->prefer_ram,
  };
}
