/*
 * choice: which device an allocation goes to, and the figures of a refusal. Private to this room;
 * under the state lock.
 */
#ifndef SERVICE_CHOICE_H
#define SERVICE_CHOICE_H

#include "service/alloc.h"
#include "service/state.h"

struct choice {
  const struct alloc_params *params;
  uint32_t named; /* the device that was asked for, UINT32_MAX: any */
  uint32_t owner; /* 0: not known yet */
  uint32_t held;  /* devices, a bit each, where others wait and come first */
};

/* What a request means by a device's name ("": any, UINT32_MAX) and a kind of memory.
 * DEVICE_NOT_FOUND; INVALID_ARGUMENT: the device named has other memory. Needs no lock, as the next
 * does not. */
enum status choice_named(const struct service *s, const char *name, int memory, uint32_t *named,
                         struct problem *problem);
/* Whether the device is among what it means. */
bool choice_has(const struct service *s, uint32_t named, int memory, uint32_t device);
/* A bit for each device that it would take if there were room. */
uint32_t choice_devices(const struct service *s, const struct choice *choice);
/* Fills verdicts[device_count], best first; returns how many fit. */
uint32_t choice_rank(const struct service *s, const struct choice *choice,
                     struct placement_verdict *verdicts);
void choice_tell(const struct service *s, const struct choice *choice,
                 const struct placement_verdict *verdicts, struct alloc_placement *out);
/* The device that the numbers of a 507 are about: the one that was asked for, else the one with
 * most room. NULL: there is none of that memory. */
const struct state_device *choice_subject(const struct service *s, const struct choice *choice);
/* No device that it could go to could hold it even if it were empty. */
bool choice_is_too_large(const struct service *s, const struct choice *choice);
/* Pressure keeps it out wherever it could go, and waiting would not help: it had fitted somewhere,
 * or the strain lasts. */
bool choice_is_strained(const struct service *s, const struct choice *choice);
/* DEVICE_UNAVAILABLE: it is kept for its memory only, and no worker reaches that. */
enum status choice_configured(const struct state_device *device, struct problem *problem);
/* Why it does not fit. reason: "" or what ran out. */
enum status choice_refuse(const struct service *s, const struct choice *choice, const char *reason,
                          struct problem *problem);

#endif
