/*
 * vulkan/loan: memory is lent in whole pages, and no longer than a copy lasts: whoever mapped other
 * pages beneath it meanwhile would not be seen.
 */
#include "device/vulkan/loan.h"

#include "base/units.h"

#define LOAN_LEAST (256 * KIB) /* below, lending costs more than a core's copy */
#define LOAN_KIND VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT

void vulkan_loan_end(const struct vulkan_card *card, struct vulkan_loan *loan) {
  card->destroy_buffer(card->device, loan->at.buffer, NULL);
  card->free_memory(card->device, loan->memory, NULL);
}

static bool import_pages(const struct vulkan_card *card, void *pages, uint64_t size,
                         struct vulkan_loan *loan) {
  VkMemoryHostPointerPropertiesEXT can = {.sType =
                                              VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
  VkMemoryRequirements needs;
  if (card->host_types(card->device, LOAN_KIND, pages, &can) ||
      vulkan_card_buffer(card, size, LOAN_KIND, &loan->at.buffer, &needs))
    return false;
  uint32_t types = can.memoryTypeBits & needs.memoryTypeBits & card->coherent_types;
  if (!types || needs.size > size)
    return false;
  const VkImportMemoryHostPointerInfoEXT which = {
      .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
      .handleType = LOAN_KIND,
      .pHostPointer = pages};
  const VkMemoryAllocateInfo how = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                    .pNext = &which,
                                    .allocationSize = size,
                                    .memoryTypeIndex = (uint32_t)__builtin_ctz(types)};
  return !card->allocate(card->device, &how, NULL, &loan->memory) &&
         !card->bind(card->device, loan->at.buffer, loan->memory, 0);
}

bool vulkan_loan_make(const struct vulkan_card *card, const void *bytes, uint64_t size,
                      struct vulkan_loan *out) {
  *out = (struct vulkan_loan){.memory = VK_NULL_HANDLE};
  if (!card->host_multiple || size < LOAN_LEAST)
    return false;
  uintptr_t first = (uintptr_t)bytes & ~(uintptr_t)(card->host_multiple - 1);
  uintptr_t end = units_up((uintptr_t)bytes + size, card->host_multiple);
  out->at.offset = (uintptr_t)bytes - first;
  if (import_pages(card, (void *)first, end - first, out))
    return true;
  vulkan_loan_end(card, out);
  return false;
}
