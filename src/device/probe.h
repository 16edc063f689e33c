/*
 * probe: which devices there are. The only file that names backends.
 */
#ifndef DEVICE_PROBE_H
#define DEVICE_PROBE_H

#include <stdbool.h>

#include "device/spec.h"

struct backend;

/* The table of the backend for a kind of device, NULL if there is none in this build. */
const struct backend *probe_backend(const char *kind);
/* The table for a spec: the backend's, its owner half in a broker where the spec has one. False:
 * there is none, or no such device. */
bool probe_table(const struct spec *spec, struct backend *out);
/* Devices to open when the user named none: host:0, and with `gpus` the cards found, for which
 * their driver is started. Returns how many of `out` were filled. */
unsigned probe_defaults(bool gpus, struct spec *out, unsigned max);
/* More cards, for a process that may load their drivers into itself, as the daemon may not:
 * Vulkan's, without software drivers. Takes up to seconds. Returns how many of `out` were filled.
 */
unsigned probe_cards(struct spec *out, unsigned max);
/* Whether devices of a kind are owned by a process of their own, as those of probe_cards are. */
bool probe_is_apart(const char *kind);
/* For a device that was not found so: the environment in which a process sees it. Its driver is
 * started. */
void probe_place(struct spec *spec);

#endif
