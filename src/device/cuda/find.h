/*
 * cuda/find: which cards, and which parts of cards (MIG instances), there are for this process and
 * for those that it starts.
 */
#ifndef DEVICE_CUDA_FIND_H
#define DEVICE_CUDA_FIND_H

#include "device/spec.h"

/* cuda:0 … and mig:0 …, with the environment in which a process sees them. Returns how many of
 * `out` were filled; 0 also where there is no driver. Calls the driver, which may take a second on
 * a machine that has cards. */
unsigned cuda_find(struct spec *out, unsigned max);

#endif
