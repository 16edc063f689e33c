/*
 * vulkan/owner: memory is allocated, exported and freed at once; from then on the descriptor alone
 * keeps it, in us, the vault, or whoever has it.
 */
#include "device/vulkan/owner.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/units.h"
#include "device/vulkan/card.h"

#define OWNER_GRANULARITY (64 * KIB) /* the largest page that a driver's small ones come in */

struct owner {
  struct vulkan_card *card;
  uint64_t size_bytes; /* what the user set; 0: nothing */
};

enum status vulkan_owner_open(const struct spec *spec, void **out) {
  struct owner *owner = calloc(1, sizeof *owner);
  if (!owner)
    return STATUS_INTERNAL_ERROR;
  owner->size_bytes = spec->size_bytes;
  enum status status = vulkan_card_open(spec, &owner->card);
  if (status)
    free(owner);
  else
    *out = owner;
  return status;
}

void vulkan_owner_close(void *arg) {
  struct owner *owner = arg;
  vulkan_card_close(owner->card);
  free(owner);
}

enum status vulkan_owner_describe(void *arg, struct device_info *info) {
  const struct owner *owner = arg;
  vulkan_card_describe(owner->card, info);
  info->limit_bytes = info->total_bytes;
  if (owner->size_bytes)
    info->limit_bytes = units_min(info->limit_bytes, owner->size_bytes);
  info->granularity = units_max(owner->card->alignment, OWNER_GRANULARITY);
  info->costly = true;
  return STATUS_OK;
}

enum status vulkan_owner_budget(void *arg, struct device_budget *budget) {
  const struct owner *owner = arg;
  vulkan_card_budget(owner->card, budget);
  return STATUS_OK;
}

/* ---- memory ---- */

/* A copy above stdin, stdout and stderr, which no child inherits. */
static enum status keep_descriptor(int fd, struct share *out) {
  struct share made = {SHARE_VULKAN_OPAQUE, fd};
  enum status status = share_copy(&made, out);
  share_close(&made);
  return status;
}

static enum status export_memory(const struct vulkan_card *card, VkDeviceMemory memory,
                                 struct share *out) {
  const VkMemoryGetFdInfoKHR how = {.sType = VK_STRUCTURE_TYPE_MEMORY_GET_FD_INFO_KHR,
                                    .memory = memory,
                                    .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT};
  int fd = -1;
  enum status status = vulkan_load_check("export memory", card->export_fd(card->device, &how, &fd));
  return status ? status : keep_descriptor(fd, out);
}

enum status vulkan_owner_create(void *arg, uint64_t size, struct share *out) {
  const struct owner *owner = arg;
  const struct vulkan_card *card = owner->card;
  VkBuffer buffer;
  VkMemoryRequirements needs;
  VkDeviceMemory memory;
  enum status status =
      vulkan_card_buffer(card, size, VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT, &buffer, &needs);
  if (status)
    return status;
  card->destroy_buffer(card->device, buffer, NULL);
  const VkExportMemoryAllocateInfo shared = {.sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO,
                                             .handleTypes =
                                                 VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT};
  const VkMemoryAllocateInfo how = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                    .pNext = &shared,
                                    .allocationSize = needs.size,
                                    .memoryTypeIndex = card->type};
  status = vulkan_load_check("make memory", card->allocate(card->device, &how, NULL, &memory));
  if (status)
    return status;
  status = export_memory(card, memory, out);
  card->free_memory(card->device, memory, NULL);
  return status;
}

void vulkan_owner_release(void *arg, struct share *share, uint64_t size, bool exported) {
  (void)arg;
  (void)size;
  (void)exported;
  share_close(share);
}
