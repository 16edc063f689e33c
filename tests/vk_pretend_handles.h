/*
 * vk_pretend_handles: what the parts of the layer share: a record for each instance and each
 * device, with the functions of the next below us, which are found when it is made: later the
 * loader answers with those of the first.
 */
#ifndef TESTS_VK_PRETEND_HANDLES_H
#define TESTS_VK_PRETEND_HANDLES_H

#include <pthread.h>

#include "vk_pretend.h"

#define CARDS 8
#define FAMILIES 2 /* that copies, computes and draws; that can but copy */

#define OF_INSTANCE(X)                                                                             \
  X(vkDestroyInstance)                                                                             \
  X(vkEnumeratePhysicalDevices)                                                                    \
  X(vkGetPhysicalDeviceProperties2)                                                                \
  X(vkGetPhysicalDeviceMemoryProperties2)                                                          \
  X(vkGetPhysicalDeviceQueueFamilyProperties)                                                      \
  X(vkEnumerateDeviceExtensionProperties)                                                          \
  X(vkGetPhysicalDeviceExternalBufferProperties)                                                   \
  X(vkCreateDevice)
#define OF_DEVICE(X)                                                                               \
  X(vkDestroyDevice)                                                                               \
  X(vkAllocateMemory)                                                                              \
  X(vkFreeMemory)                                                                                  \
  X(vkMapMemory)                                                                                   \
  X(vkGetMemoryFdKHR)                                                                              \
  X(vkGetDeviceQueue)                                                                              \
  X(vkCreateCommandPool)                                                                           \
  X(vkCreateBuffer)                                                                                \
  X(vkQueueSubmit)                                                                                 \
  X(vkWaitSemaphores)                                                                              \
  X(vkCmdCopyBuffer)                                                                               \
  X(vkGetBufferMemoryRequirements)                                                                 \
  X(vkGetMemoryHostPointerPropertiesEXT)
#define MEMBER(name) PFN_##name name;

struct instance {
  void *key; /* of it and its cards: the loader's table */
  PFN_vkGetInstanceProcAddr find;
  OF_INSTANCE(MEMBER)
  VkPhysicalDevice cards[CARDS];
  uint32_t count;
  struct instance *next;
};

/* The driver has one queue; here each family has one, by which it is known who submits. */
struct pretend_queue {
  void *key; /* first: the loader writes it */
  VkQueue real;
  uint32_t family;
};

struct device {
  void *key; /* of it and its queues */
  PFN_vkGetDeviceProcAddr find;
  OF_DEVICE(MEMBER)
  uint32_t card;
  struct pretend_queue queues[FAMILIES];
  pthread_mutex_t lock; /* of the driver's queue */
  struct device *next;
};

/* Those that a handle of the loader's belongs to. */
struct instance *pretend_instance_of(const void *handle);
struct device *pretend_device_of(const void *handle);

/* FAKE dma-bufs: whether there are any; what the driver is asked for in their place: the chain for
 * a buffer, and for memory, or the error that is told instead. */
struct pretend_chain {
  VkExportMemoryAllocateInfo shared;
  VkImportMemoryFdInfoKHR import;
};
bool pretend_passes_dmabufs(void);
const void *pretend_real_buffer(const void *chain, VkExternalMemoryBufferCreateInfo *copy);
VkResult pretend_real_memory(VkMemoryAllocateInfo *how, struct pretend_chain *copy);
/* vkGetPhysicalDeviceExternalBufferProperties, vkGetMemoryFdPropertiesKHR */
VKAPI_ATTR void VKAPI_CALL pretend_external(VkPhysicalDevice physical,
                                            const VkPhysicalDeviceExternalBufferInfo *what,
                                            VkExternalBufferProperties *out);
VKAPI_ATTR VkResult VKAPI_CALL pretend_fd_types(VkDevice handle,
                                                VkExternalMemoryHandleTypeFlagBits kind, int fd,
                                                VkMemoryFdPropertiesKHR *out);

/* How the driver is asked for what the queues need of it. */
void pretend_real_queues(VkDeviceCreateInfo *how, VkDeviceQueueCreateInfo *queue);

/* vkGetPhysicalDeviceQueueFamilyProperties, GetDeviceQueue, CreateCommandPool, CreateBuffer,
 * QueueSubmit, WaitSemaphores */
VKAPI_ATTR void VKAPI_CALL pretend_families(VkPhysicalDevice physical, uint32_t *count,
                                            VkQueueFamilyProperties *out);
VKAPI_ATTR void VKAPI_CALL pretend_get_queue(VkDevice handle, uint32_t family, uint32_t number,
                                             VkQueue *out);
VKAPI_ATTR VkResult VKAPI_CALL pretend_create_pool(VkDevice handle,
                                                   const VkCommandPoolCreateInfo *how,
                                                   const VkAllocationCallbacks *callbacks,
                                                   VkCommandPool *out);
VKAPI_ATTR VkResult VKAPI_CALL pretend_create_buffer(VkDevice handle, const VkBufferCreateInfo *how,
                                                     const VkAllocationCallbacks *callbacks,
                                                     VkBuffer *out);
VKAPI_ATTR VkResult VKAPI_CALL pretend_submit(VkQueue handle, uint32_t count,
                                              const VkSubmitInfo *what, VkFence fence);
VKAPI_ATTR VkResult VKAPI_CALL pretend_wait(VkDevice handle, const VkSemaphoreWaitInfo *what,
                                            uint64_t timeout);

#endif
