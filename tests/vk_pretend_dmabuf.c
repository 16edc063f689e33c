/*
 * vk_pretend_dmabuf: FAKE dma-bufs, which are the driver's opaque descriptors under another name:
 * Mesa's software driver imports them on any of its devices. Whoever asks for one in truth asks for
 * the other.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vk_pretend_handles.h"

#define OPAQUE VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT
#define DMABUF VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT

static bool does(const char *what) {
  const char *how = getenv("VK_PRETEND_DMABUF");
  return how && (!what || !strcmp(how, what));
}

static const void *find_in_chain(const void *chain, VkStructureType type) {
  const VkBaseInStructure *each = chain;
  while (each && each->sType != type)
    each = each->pNext;
  return each;
}

bool pretend_passes_dmabufs(void) { return does(NULL); }

VKAPI_ATTR void VKAPI_CALL pretend_external(VkPhysicalDevice physical,
                                            const VkPhysicalDeviceExternalBufferInfo *what,
                                            VkExternalBufferProperties *out) {
  VkPhysicalDeviceExternalBufferInfo real = *what;
  bool ours = does(NULL) && (what->handleType & (OPAQUE | DMABUF));
  if (ours)
    real.handleType = OPAQUE;
  pretend_instance_of(physical)->vkGetPhysicalDeviceExternalBufferProperties(physical, &real, out);
  if (ours)
    out->externalMemoryProperties.compatibleHandleTypes =
        out->externalMemoryProperties.exportFromImportedHandleTypes = OPAQUE | DMABUF;
}

VKAPI_ATTR VkResult VKAPI_CALL pretend_fd_types(VkDevice handle,
                                                VkExternalMemoryHandleTypeFlagBits kind, int fd,
                                                VkMemoryFdPropertiesKHR *out) {
  (void)handle;
  (void)fd;
  out->memoryTypeBits = 7;
  return kind == DMABUF && does(NULL) ? VK_SUCCESS : VK_ERROR_INVALID_EXTERNAL_HANDLE;
}

const void *pretend_real_buffer(const void *chain, VkExternalMemoryBufferCreateInfo *copy) {
  const VkExternalMemoryBufferCreateInfo *shared =
      find_in_chain(chain, VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO);
  if (!shared || !(shared->handleTypes & DMABUF))
    return chain;
  *copy = *shared;
  copy->pNext = NULL;
  copy->handleTypes = OPAQUE;
  return copy;
}

VkResult pretend_real_memory(VkMemoryAllocateInfo *how, struct pretend_chain *copy) {
  const VkExportMemoryAllocateInfo *shared =
      find_in_chain(how->pNext, VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO);
  const VkImportMemoryFdInfoKHR *import =
      find_in_chain(how->pNext, VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR);
  bool comes = import && import->handleType == DMABUF, lies = comes && does("lies");
  if (comes && does("refuses"))
    return VK_ERROR_INVALID_EXTERNAL_HANDLE;
  if (!does(NULL) || (!shared && !import))
    return VK_SUCCESS;
  how->pNext = NULL;
  if (shared) {
    copy->shared = *shared;
    copy->shared.pNext = NULL;
    copy->shared.handleTypes = OPAQUE;
    how->pNext = &copy->shared;
  }
  if (lies) {
    close(import->fd);
  } else if (import) {
    copy->import = *import;
    copy->import.pNext = how->pNext;
    copy->import.handleType = OPAQUE;
    how->pNext = &copy->import;
  }
  return VK_SUCCESS;
}
