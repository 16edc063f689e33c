/*
 * vulkan: the memory of any vendor's cards, as VkDeviceMemory that is shared as opaque descriptors.
 */
#ifndef DEVICE_VULKAN_BACKEND_H
#define DEVICE_VULKAN_BACKEND_H

#include "device/backend.h"

extern const struct backend vulkan_backend;

#endif
