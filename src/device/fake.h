/*
 * fake: a card that is none, made only when asked for, so that every path of a card runs on real
 * bytes: VRAM that nobody can address but through its mover, over a link with a set rate and
 * latency.
 */
#ifndef DEVICE_FAKE_H
#define DEVICE_FAKE_H

#include "device/backend.h"

extern const struct backend fake_backend;

#endif
