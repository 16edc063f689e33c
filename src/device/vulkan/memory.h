/*
 * vulkan/memory: memory of a card that goes from hand to hand as a descriptor. Every segment has an
 * opaque one, which the same card and driver import, in any process. Where the driver offers it,
 * who has imported it can make a dma-buf of it, which other cards may import.
 *
 * Any thread.
 */
#ifndef DEVICE_VULKAN_MEMORY_H
#define DEVICE_VULKAN_MEMORY_H

#include "device/vulkan/card.h"

struct vulkan_memory {
  VkDeviceMemory memory;
  VkBuffer buffer; /* over all of it */
};

/* Of the kind that segments are of, and to be exported. */
enum status vulkan_memory_make(const struct vulkan_card *card, uint64_t size, VkDeviceMemory *out);
/* A descriptor of what was made, or, as a dma-buf where card->shared says so, imported; the
 * caller's. */
enum status vulkan_memory_export(const struct vulkan_card *card, VkDeviceMemory memory,
                                 VkExternalMemoryHandleTypeFlagBits kind, int *fd);

/* `fd` is taken, also by what fails. It is of a segment of `size` bytes. */
struct vulkan_memory_origin {
  VkExternalMemoryHandleTypeFlagBits kind;
  int fd;
  uint64_t size;
};
enum status vulkan_memory_import(const struct vulkan_card *card,
                                 const struct vulkan_memory_origin *from,
                                 struct vulkan_memory *out);
/* Nothing is under way there. Harmless on what is empty. */
void vulkan_memory_drop(const struct vulkan_card *card, struct vulkan_memory *memory);

#endif
