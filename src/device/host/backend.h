/*
 * host: this machine's RAM as memfds. `host:0` without a size is the whole RAM, of which half may
 * be committed; with a size it is a pool of that much.
 */
#ifndef DEVICE_HOST_BACKEND_H
#define DEVICE_HOST_BACKEND_H

#include "device/backend.h"

extern const struct backend host_backend;

#endif
