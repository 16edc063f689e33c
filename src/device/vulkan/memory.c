/*
 * vulkan/memory: how memory is exported and imported, in the words of Vulkan.
 */
#include "device/vulkan/memory.h"

#include "base/share.h"

#define MEMORY_OPAQUE VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT
#define MEMORY_DMABUF VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT

enum status vulkan_memory_make(const struct vulkan_card *card, uint64_t size, VkDeviceMemory *out) {
  VkMemoryRequirements needs;
  enum status status = vulkan_card_needs(card, size, card->shared, &needs);
  if (status)
    return status;
  const VkExportMemoryAllocateInfo shared = {.sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO,
                                             .handleTypes = card->shared};
  const VkMemoryAllocateInfo how = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                    .pNext = &shared,
                                    .allocationSize = needs.size,
                                    .memoryTypeIndex = card->type};
  return vulkan_load_check("make memory", card->allocate(card->device, &how, NULL, out));
}

enum status vulkan_memory_export(const struct vulkan_card *card, VkDeviceMemory memory,
                                 VkExternalMemoryHandleTypeFlagBits kind, int *fd) {
  const VkMemoryGetFdInfoKHR how = {
      .sType = VK_STRUCTURE_TYPE_MEMORY_GET_FD_INFO_KHR, .memory = memory, .handleType = kind};
  return vulkan_load_check("export memory", card->export_fd(card->device, &how, fd));
}

/* The kind of memory that it is here: a segment's, or, of what comes from another card, one that
 * the driver can take it for. */
static enum status find_type(const struct vulkan_card *card,
                             const struct vulkan_memory_origin *from, uint32_t allowed,
                             uint32_t *out) {
  VkMemoryFdPropertiesKHR can = {.sType = VK_STRUCTURE_TYPE_MEMORY_FD_PROPERTIES_KHR};
  *out = card->type;
  if (from->kind == MEMORY_OPAQUE)
    return STATUS_OK;
  enum status status = vulkan_load_check("look at memory of another card",
                                         card->fd_types(card->device, from->kind, from->fd, &can));
  allowed &= can.memoryTypeBits;
  if (!status && allowed)
    *out = (uint32_t)__builtin_ctz(allowed);
  return status || allowed ? status : STATUS_DEVICE_NOT_FOUND;
}

/* The driver takes a descriptor that it imports, and no other. */
static enum status take(const struct vulkan_card *card, const struct vulkan_memory_origin *from,
                        const VkMemoryRequirements *needs, VkDeviceMemory *out) {
  uint32_t type;
  enum status status = find_type(card, from, needs->memoryTypeBits, &type);
  if (status)
    return status;
  const VkExportMemoryAllocateInfo again = {.sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO,
                                            .handleTypes = MEMORY_DMABUF};
  bool exports = from->kind == MEMORY_OPAQUE && (card->shared & MEMORY_DMABUF);
  const VkImportMemoryFdInfoKHR which = {.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR,
                                         .pNext = exports ? &again : NULL,
                                         .handleType = from->kind,
                                         .fd = from->fd};
  const VkMemoryAllocateInfo how = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                    .pNext = &which,
                                    .allocationSize = needs->size,
                                    .memoryTypeIndex = type};
  return vulkan_load_check("import memory", card->allocate(card->device, &how, NULL, out));
}

enum status vulkan_memory_import(const struct vulkan_card *card,
                                 const struct vulkan_memory_origin *from,
                                 struct vulkan_memory *out) {
  VkExternalMemoryHandleTypeFlags shared = from->kind == MEMORY_OPAQUE ? card->shared : from->kind;
  struct share fd = {SHARE_VULKAN_OPAQUE, from->fd};
  VkMemoryRequirements needs;
  *out = (struct vulkan_memory){.memory = VK_NULL_HANDLE};
  enum status status = vulkan_card_buffer(card, from->size, shared, &out->buffer, &needs);
  if (!status)
    status = take(card, from, &needs, &out->memory);
  if (status)
    share_close(&fd);
  else
    status = vulkan_load_check("use imported memory",
                               card->bind(card->device, out->buffer, out->memory, 0));
  if (status)
    vulkan_memory_drop(card, out);
  return status;
}

/* Vulkan lets nothing be destroyed: NULL. */
void vulkan_memory_drop(const struct vulkan_card *card, struct vulkan_memory *memory) {
  card->destroy_buffer(card->device, memory->buffer, NULL);
  card->free_memory(card->device, memory->memory, NULL);
  *memory = (struct vulkan_memory){.memory = VK_NULL_HANDLE};
}
