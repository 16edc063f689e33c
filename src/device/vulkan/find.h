/*
 * vulkan/find: which cards Vulkan has, what each says of itself, and which one a spec means (see
 * card.h). Any thread; calls the drivers.
 */
#ifndef DEVICE_VULKAN_FIND_H
#define DEVICE_VULKAN_FIND_H

#include <stdbool.h>
#include <stddef.h>

#include "device/spec.h"
#include "device/vulkan/load.h"

#define VULKAN_FIND_UUID 40 /* text of one */

enum vulkan_find_extension {
  VULKAN_FIND_SHARE,  /* memory as descriptors: without it a card is of no use */
  VULKAN_FIND_HOST,   /* host memory lent to a card */
  VULKAN_FIND_DMABUF, /* memory as descriptors that other cards may import */
  VULKAN_FIND_BUDGET,
  VULKAN_FIND_PCI,
  VULKAN_FIND_EXTENSIONS
};

/* In one piece, for each points to the next: not to be copied. */
struct vulkan_find_facts {
  VkPhysicalDevice physical;
  VkPhysicalDeviceProperties2 properties;
  VkPhysicalDeviceIDProperties id;
  VkPhysicalDeviceDriverProperties driver;
  VkPhysicalDevicePCIBusInfoPropertiesEXT pci;          /* where it has the extension */
  VkPhysicalDeviceExternalMemoryHostPropertiesEXT host; /* the same */
};

const char *vulkan_find_extension(enum vulkan_find_extension extension);
/* Which it has. DEVICE_NOT_FOUND: not what is needed. */
enum status vulkan_find_extensions(const struct vulkan_load *load, VkPhysicalDevice physical,
                                   bool has[VULKAN_FIND_EXTENSIONS]);
void vulkan_find_facts(const struct vulkan_load *load, VkPhysicalDevice physical,
                       const bool has[VULKAN_FIND_EXTENSIONS], struct vulkan_find_facts *out);
/* As UUIDs are written. */
void vulkan_find_uuid(const uint8_t bytes[VK_UUID_SIZE], char out[VULKAN_FIND_UUID]);
/* As the kernel writes addresses: "0000:03:00.0". */
void vulkan_find_pci(const struct vulkan_find_facts *facts, char *out, size_t size);
/* The card that is meant. DEVICE_NOT_FOUND: there is none. */
enum status vulkan_find_physical(const struct vulkan_load *load, const struct spec *spec,
                                 VkPhysicalDevice *out);
/* Real cards, no software drivers, that share their memory: vulkan:0 …, each bound to what it says
 * of itself, with its PCI address where it tells it. Returns how many of `out` were filled; 0 also
 * where there is no loader or driver. May take a second, tens of MiB, and threads of the drivers'
 * own. */
unsigned vulkan_find(struct spec *out, unsigned max);

#endif
