/*
 * cuda: the memory of NVIDIA cards, as VMM segments that are shared as descriptors.
 */
#ifndef DEVICE_CUDA_BACKEND_H
#define DEVICE_CUDA_BACKEND_H

#include "device/backend.h"

extern const struct backend cuda_backend;

#endif
