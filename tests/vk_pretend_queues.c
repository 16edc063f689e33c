/*
 * vk_pretend_queues: a FAKE card's families of queues, which are all the driver's one queue, and
 * the trace of what is submitted and waited for.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "vk_pretend_handles.h"

static bool has_two(void) { return getenv("VK_PRETEND_FAMILIES"); }

VKAPI_ATTR void VKAPI_CALL pretend_families(VkPhysicalDevice physical, uint32_t *count,
                                            VkQueueFamilyProperties *out) {
  if (!has_two()) {
    pretend_instance_of(physical)->vkGetPhysicalDeviceQueueFamilyProperties(physical, count, out);
    return;
  }
  static const VkQueueFlags flags[FAMILIES] = {
      VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT, VK_QUEUE_TRANSFER_BIT};
  uint32_t room = out ? *count : 0;
  for (uint32_t i = 0; i < FAMILIES && i < room; i++)
    out[i] = (VkQueueFamilyProperties){
        .queueFlags = flags[i], .queueCount = 1, .minImageTransferGranularity = {1, 1, 1}};
  *count = out && room < FAMILIES ? room : FAMILIES;
}

void pretend_real_queues(VkDeviceCreateInfo *how, VkDeviceQueueCreateInfo *queue) {
  if (!has_two())
    return;
  *queue = how->pQueueCreateInfos[0];
  queue->queueFamilyIndex = 0;
  how->queueCreateInfoCount = 1;
  how->pQueueCreateInfos = queue;
}

VKAPI_ATTR void VKAPI_CALL pretend_get_queue(VkDevice handle, uint32_t family, uint32_t number,
                                             VkQueue *out) {
  struct device *device = pretend_device_of(handle);
  struct pretend_queue *queue = &device->queues[family];
  device->vkGetDeviceQueue(handle, 0, number, &queue->real);
  *(void **)queue->real = queue->key = device->key; /* as the loader does with what it returns */
  queue->family = family;
  *out = (VkQueue)queue;
}

VKAPI_ATTR VkResult VKAPI_CALL pretend_create_pool(VkDevice handle,
                                                   const VkCommandPoolCreateInfo *how,
                                                   const VkAllocationCallbacks *callbacks,
                                                   VkCommandPool *out) {
  VkCommandPoolCreateInfo real = *how;
  real.queueFamilyIndex = 0;
  return pretend_device_of(handle)->vkCreateCommandPool(handle, &real, callbacks, out);
}

VKAPI_ATTR VkResult VKAPI_CALL pretend_create_buffer(VkDevice handle, const VkBufferCreateInfo *how,
                                                     const VkAllocationCallbacks *callbacks,
                                                     VkBuffer *out) {
  VkExternalMemoryBufferCreateInfo shared;
  VkBufferCreateInfo real = *how;
  real.pNext = pretend_real_buffer(how->pNext, &shared);
  real.sharingMode = VK_SHARING_MODE_EXCLUSIVE;
  real.queueFamilyIndexCount = 0;
  return pretend_device_of(handle)->vkCreateBuffer(handle, &real, callbacks, out);
}

/* ---- what goes on ---- */

static void trace(char what) {
  FILE *file = pretend_has("trace") ? pretend_open("trace", "ae") : NULL;
  if (!file)
    return;
  fputc(what, file);
  fclose(file);
}

/* After so many submissions as the file says, counted from when it came. */
static bool is_lost(void) {
  static atomic_uint since;
  unsigned after = 0;
  FILE *file = pretend_open("lost", "re");
  if (!file) {
    atomic_store(&since, 0);
    return false;
  }
  bool told = fscanf(file, "%u", &after) == 1;
  fclose(file);
  return !told || atomic_fetch_add(&since, 1) >= after;
}

VKAPI_ATTR VkResult VKAPI_CALL pretend_submit(VkQueue handle, uint32_t count,
                                              const VkSubmitInfo *what, VkFence fence) {
  struct device *device = pretend_device_of(handle);
  const struct pretend_queue *queue = (const struct pretend_queue *)handle;
  if (is_lost())
    return VK_ERROR_DEVICE_LOST;
  trace(queue->family ? 't' : 's');
  pthread_mutex_lock(&device->lock);
  VkResult answer = device->vkQueueSubmit(queue->real, count, what, fence);
  pthread_mutex_unlock(&device->lock);
  return answer;
}

VKAPI_ATTR VkResult VKAPI_CALL pretend_wait(VkDevice handle, const VkSemaphoreWaitInfo *what,
                                            uint64_t timeout) {
  trace('w');
  return pretend_device_of(handle)->vkWaitSemaphores(handle, what, timeout);
}
