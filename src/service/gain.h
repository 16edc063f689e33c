/*
 * gain: what a defragmentation of a device would give back, by the figures of its slabs
 * (memory/slack). Private to this room.
 */
#ifndef SERVICE_GAIN_H
#define SERVICE_GAIN_H

#include "memory/slack.h"
#include "service/state.h"

/* Takes the state lock, for some owners at a time. */
struct slack gain_look(struct service *s, uint32_t device);

#endif
