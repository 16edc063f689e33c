/*
 * vulkan/load: Vulkan's loader, found at run time, with an instance, whose making starts the
 * drivers of all cards. A machine without it is a machine without such cards: nothing here is an
 * error that anyone must hear of.
 *
 * An instance takes tens of MiB and threads of the drivers' own, so that none is made in the
 * daemon. The functions may be called by any thread.
 */
#ifndef DEVICE_VULKAN_LOAD_H
#define DEVICE_VULKAN_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include "base/status.h"

/* Member, and the function's name without its vk. */
#define VULKAN_OF_INSTANCE(X)                                                                      \
  X(destroy_instance, DestroyInstance)                                                             \
  X(list_cards, EnumeratePhysicalDevices)                                                          \
  X(list_extensions, EnumerateDeviceExtensionProperties)                                           \
  X(properties, GetPhysicalDeviceProperties2)                                                      \
  X(features, GetPhysicalDeviceFeatures2)                                                          \
  X(memory, GetPhysicalDeviceMemoryProperties2)                                                    \
  X(families, GetPhysicalDeviceQueueFamilyProperties)                                              \
  X(external, GetPhysicalDeviceExternalBufferProperties)                                           \
  X(create_device, CreateDevice)                                                                   \
  X(find_of_device, GetDeviceProcAddr)

struct vulkan_load {
  void *library;
  VkInstance instance;
#define X(member, name) PFN_vk##name member;
  VULKAN_OF_INSTANCE(X)
#undef X
};

/* DEVICE_NOT_FOUND: no loader, no driver, or one that is older than Vulkan 1.2. */
enum status vulkan_load_open(struct vulkan_load *out);
/* Harmless on an empty table. */
void vulkan_load_close(struct vulkan_load *load);
/* What an answer means here; what is not OK is logged, with `what` was tried.
 * INSUFFICIENT_MEMORY: the card, or the driver, has no more. DEVICE_NOT_FOUND: it is not there, or
 * cannot what is asked of it. DEVICE_UNAVAILABLE: the card is lost, and every later call will fail
 * as well. INTERNAL_ERROR: the call was wrong, or the descriptor was. */
enum status vulkan_load_check(const char *what, VkResult answer);

#endif
