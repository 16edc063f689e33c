/*
 * choice: memory/placement ranks, on figures that count the room in the owner's own slabs too: a
 * device may be full and still have it.
 */
#include "service/choice.h"

#include <stdio.h>

#include "base/units.h"
#include "service/strain.h"

static enum placement_memory memory_of(const struct device_info *info) {
  return info->memory == DEVICE_RAM ? PLACEMENT_RAM : PLACEMENT_VRAM;
}

enum status choice_named(const struct service *s, const char *name, int memory, uint32_t *named,
                         struct problem *problem) {
  uint32_t found = UINT32_MAX;
  if (name[0] && state_find_device(s, name, &found, problem))
    return problem->status;
  const struct device_info *info = found == UINT32_MAX ? NULL : s->devices[found].info;
  if (info && memory != PLACEMENT_ANY && (int)memory_of(info) != memory)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "memoryType", "%s has %s memory",
                         info->id, memory_of(info) == PLACEMENT_RAM ? "RAM" : "VRAM");
  *named = found;
  return STATUS_OK;
}

bool choice_has(const struct service *s, uint32_t named, int memory, uint32_t device) {
  return (named == UINT32_MAX || named == device) &&
         (memory == PLACEMENT_ANY || memory == (int)memory_of(s->devices[device].info));
}

static bool suits(const struct service *s, const struct choice *choice, uint32_t device) {
  return choice_has(s, choice->named, choice->params->memory, device);
}

uint32_t choice_devices(const struct service *s, const struct choice *choice) {
  uint32_t devices = 0;
  for (uint32_t i = 0; i < s->device_count; i++)
    if (suits(s, choice, i))
      devices |= UINT32_C(1) << i;
  return devices;
}

static uint64_t room_for(const struct service *s, uint32_t device, const struct choice *choice) {
  if (choice->held >> device & 1)
    return 0;
  uint64_t room = state_available(s, &s->devices[device]);
  uint64_t size = choice->params->size_bytes;
  if (room >= size || !choice->owner || choice->params->share != VIEW_SHARE_NONE)
    return room;
  for (uint32_t i = state_owner(s, choice->owner)->slabs[device]; i;
       i = state_segment(s, i)->slab_next) {
    const struct state_segment *segment = state_segment(s, i);
    if (segment->span && span_may_fit(segment->span, size, choice->params->alignment_bytes))
      return size;
  }
  return room;
}

uint32_t choice_rank(const struct service *s, const struct choice *choice,
                     struct placement_verdict *verdicts) {
  struct placement_candidate candidates[VIEW_DEVICES];
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    candidates[i] = (struct placement_candidate){
        .id = device->info->id,
        .memory = memory_of(device->info),
        .healthy = device->answering && !device->gone,
        .named = choice->named == UINT32_MAX || choice->named == i,
        .strained = strain_keeps_out(s, i, choice->params->priority),
        .available_bytes = room_for(s, i, choice),
        .limit_bytes = device->limit,
        .utilization_hundredths = units_percent(state_used(s, device), device->info->total_bytes)};
  }
  struct placement_request request = {.size_bytes = choice->params->size_bytes,
                                      .memory = (enum placement_memory)choice->params->memory,
                                      .strategy =
                                          (enum placement_strategy)choice->params->strategy};
  return placement_rank(&request, candidates, s->device_count, verdicts);
}

void choice_tell(const struct service *s, const struct choice *choice,
                 const struct placement_verdict *verdicts, struct alloc_placement *out) {
  struct placement_request request = {.size_bytes = choice->params->size_bytes,
                                      .strategy =
                                          (enum placement_strategy)choice->params->strategy};
  uint32_t fitting = 0;
  out->count = s->device_count;
  for (uint32_t i = 0; i < s->device_count; i++) {
    out->candidates[i].device_id = s->devices[verdicts[i].index].info->id;
    out->candidates[i].score = verdicts[i].score;
    out->candidates[i].rejected = verdicts[i].rejected;
    fitting += !verdicts[i].rejected;
  }
  out->device_id = fitting ? out->candidates[0].device_id : NULL;
  out->reason = choice->named != UINT32_MAX ? "asked for" : placement_reason(&request, fitting);
}

const struct state_device *choice_subject(const struct service *s, const struct choice *choice) {
  const struct state_device *best = NULL;
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    if (suits(s, choice, i) && (!best || state_available(s, device) > state_available(s, best)))
      best = device;
  }
  return best;
}

bool choice_is_too_large(const struct service *s, const struct choice *choice) {
  for (uint32_t i = 0; i < s->device_count; i++)
    if (suits(s, choice, i) && choice->params->size_bytes <= s->devices[i].limit)
      return false;
  return true;
}

bool choice_is_strained(const struct service *s, const struct choice *choice) {
  uint64_t size = choice->params->size_bytes;
  bool strained = false, fits = false, lasts = true;
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    if (!suits(s, choice, i) || !device->answering || device->gone || size > device->limit)
      continue;
    strained = strain_keeps_out(s, i, choice->params->priority);
    if (!strained)
      return false;
    fits = fits || room_for(s, i, choice) >= size;
    lasts = lasts && device->strain.on;
  }
  return strained && (fits || lasts);
}

enum status choice_configured(const struct state_device *device, struct problem *problem) {
  if (!device->gone)
    return STATUS_OK;
  return problem_set(problem, STATUS_DEVICE_UNAVAILABLE, "%s is not configured any more",
                     device->info->id);
}

enum status choice_refuse(const struct service *s, const struct choice *choice, const char *reason,
                          struct problem *problem) {
  const struct alloc_params *params = choice->params;
  const struct state_device *device = choice_subject(s, choice);
  if (!device)
    return problem_set(problem, STATUS_DEVICE_UNAVAILABLE, "there is no device with %s",
                       params->memory == PLACEMENT_VRAM ? "VRAM" : "RAM");
  if (choice_configured(device, problem))
    return problem->status;
  if (!device->answering)
    return problem_set(problem, STATUS_DEVICE_UNAVAILABLE, "%s does not answer", device->info->id);
  char size[32], available[32];
  units_format(params->size_bytes, size, sizeof size);
  units_format(state_available(s, device), available, sizeof available);
  uint32_t devices = choice_devices(s, choice);
  if (choice_is_strained(s, choice))
    return strain_refuse(s, (uint32_t)(device - s->devices), params->size_bytes, problem);
  if (!(devices & ~choice->held) && !choice_is_too_large(s, choice))
    problem_set(problem, STATUS_INSUFFICIENT_MEMORY, "others wait for memory on %s already",
                device->info->id);
  else if (choice_is_too_large(s, choice))
    problem_set(problem, STATUS_ALLOCATION_TOO_LARGE, "%s is more than %s may ever hold", size,
                device->info->id);
  else
    problem_set(problem, STATUS_INSUFFICIENT_MEMORY, "%s does not fit: %s has %s available", size,
                device->info->id, available);
  problem->has_space = true;
  state_space_problem(s, device, params->size_bytes, &problem->space);
  snprintf(problem->space.reason, sizeof problem->space.reason, "%s", reason);
  return problem->status;
}
