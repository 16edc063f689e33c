/*
 * vulkan_raw: a Vulkan driver as it is, for bench_vulkan_calls and bench_vulkan_flow: the first
 * real card, or a software driver where there is none. Shares no code with src/device/vulkan.
 */
#ifndef BENCH_VULKAN_RAW_H
#define BENCH_VULKAN_RAW_H

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include "base/clock.h"
#include "base/os_memfd.h"
#include "base/units.h"

#define RAW_ROUNDS 5
#define RAW_MOST 64
#define RAW_QUEUES 4 /* of a family */
#define USAGE (VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT)
#define OPAQUE VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT
#define LENT VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT

#define FUNCTIONS(X)                                                                               \
  X(EnumeratePhysicalDevices)                                                                      \
  X(GetPhysicalDeviceProperties2)                                                                  \
  X(GetPhysicalDeviceMemoryProperties)                                                             \
  X(GetPhysicalDeviceQueueFamilyProperties)                                                        \
  X(CreateDevice)                                                                                  \
  X(GetDeviceQueue)                                                                                \
  X(AllocateMemory)                                                                                \
  X(FreeMemory)                                                                                    \
  X(MapMemory)                                                                                     \
  X(GetMemoryFdKHR)                                                                                \
  X(GetMemoryHostPointerPropertiesEXT)                                                             \
  X(CreateBuffer)                                                                                  \
  X(DestroyBuffer)                                                                                 \
  X(GetBufferMemoryRequirements)                                                                   \
  X(BindBufferMemory)                                                                              \
  X(CreateCommandPool)                                                                             \
  X(AllocateCommandBuffers)                                                                        \
  X(BeginCommandBuffer)                                                                            \
  X(EndCommandBuffer)                                                                              \
  X(CmdCopyBuffer)                                                                                 \
  X(CreateSemaphore)                                                                               \
  X(QueueSubmit)                                                                                   \
  X(WaitSemaphores)

static struct {
#define X(name) PFN_vk##name name;
  FUNCTIONS(X)
#undef X
} vk;

/* For one thread at a time, says Vulkan. */
struct raw_queue {
  VkQueue queue;
  pthread_mutex_t lock;
};

struct family {
  struct raw_queue queues[RAW_QUEUES];
  uint32_t count;
  VkCommandBuffer commands; /* of copies that are waited for one by one */
};

static struct {
  VkInstance instance;
  VkPhysicalDevice physical;
  VkDevice device;
  VkPhysicalDeviceMemoryProperties memory;
  VkQueueFamilyProperties properties[RAW_MOST];
  struct family families[RAW_MOST];
  uint32_t family_count, family; /* the one that copies when no other is asked for */
  VkSemaphore semaphore;
  uint64_t started;
} card;

struct memory {
  VkDeviceMemory memory;
  VkBuffer buffer;
  char *bytes; /* NULL: not mapped */
};

static inline double us(uint64_t since) { return (double)(clock_now() - since) / 1e3; }

static inline double rate(uint64_t size, double us_taken) { return (double)size / us_taken / 1e3; }

static inline void must(VkResult answer, const char *what) {
  if (answer >= VK_SUCCESS)
    return;
  printf("%s: %d\n", what, (int)answer);
  exit(1);
}

/* ---- a card ---- */

static inline void find_functions(PFN_vkGetInstanceProcAddr find) {
#define X(name) vk.name = (PFN_vk##name)find(card.instance, "vk" #name);
  FUNCTIONS(X)
#undef X
}

static inline bool open_instance(void) {
  void *library = dlopen("libvulkan.so.1", RTLD_NOW);
  void *symbol = library ? dlsym(library, "vkGetInstanceProcAddr") : NULL;
  PFN_vkGetInstanceProcAddr find = NULL;
  memcpy(&find, &symbol, sizeof find);
  PFN_vkCreateInstance create =
      find ? (PFN_vkCreateInstance)find(NULL, "vkCreateInstance") : (PFN_vkCreateInstance)NULL;
  const VkApplicationInfo us_here = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                     .apiVersion = VK_API_VERSION_1_2};
  const VkInstanceCreateInfo how = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                    .pApplicationInfo = &us_here};
  if (!create || create(&how, NULL, &card.instance))
    return false;
  find_functions(find);
  return true;
}

static inline bool find_card(void) {
  VkPhysicalDevice all[RAW_MOST];
  uint32_t count = RAW_MOST;
  if (vk.EnumeratePhysicalDevices(card.instance, &count, all) < VK_SUCCESS || !count)
    return false;
  card.physical = all[0];
  for (uint32_t i = count; i-- > 0;) {
    VkPhysicalDeviceProperties2 facts = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    vk.GetPhysicalDeviceProperties2(all[i], &facts);
    if (facts.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU)
      card.physical = all[i];
  }
  card.family_count = RAW_MOST;
  vk.GetPhysicalDeviceMemoryProperties(card.physical, &card.memory);
  vk.GetPhysicalDeviceQueueFamilyProperties(card.physical, &card.family_count, card.properties);
  return true;
}

static inline uint32_t find_family(void) {
  for (uint32_t i = 0; i < card.family_count; i++)
    if ((card.properties[i].queueFlags & (VK_QUEUE_TRANSFER_BIT | VK_QUEUE_GRAPHICS_BIT |
                                          VK_QUEUE_COMPUTE_BIT)) == VK_QUEUE_TRANSFER_BIT)
      return i;
  return 0;
}

/* The pool is never given back. */
static inline void make_commands(uint32_t family, uint32_t count, VkCommandBuffer *out) {
  VkCommandPool pool;
  const VkCommandPoolCreateInfo how = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                       .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                       .queueFamilyIndex = family};
  must(vk.CreateCommandPool(card.device, &how, NULL, &pool), "a pool");
  const VkCommandBufferAllocateInfo all = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                           .commandPool = pool,
                                           .commandBufferCount = count};
  must(vk.AllocateCommandBuffers(card.device, &all, out), "commands");
}

static inline VkSemaphore make_semaphore(void) {
  const VkSemaphoreTypeCreateInfo counts = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                            .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
  const VkSemaphoreCreateInfo how = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                     .pNext = &counts};
  VkSemaphore semaphore = VK_NULL_HANDLE;
  must(vk.CreateSemaphore(card.device, &how, NULL, &semaphore), "a semaphore");
  return semaphore;
}

static inline void open_family(uint32_t index) {
  struct family *family = &card.families[index];
  for (uint32_t i = 0; i < family->count; i++) {
    vk.GetDeviceQueue(card.device, index, i, &family->queues[i].queue);
    pthread_mutex_init(&family->queues[i].lock, NULL);
  }
  make_commands(index, 1, &family->commands);
}

static inline void open_device(void) {
  static const char *const extensions[] = {VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME,
                                           VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME};
  static const float priorities[RAW_QUEUES] = {1, 1, 1, 1};
  VkDeviceQueueCreateInfo queues[RAW_MOST];
  for (uint32_t i = 0; i < card.family_count; i++) {
    card.families[i].count = (uint32_t)units_min(card.properties[i].queueCount, RAW_QUEUES);
    queues[i] = (VkDeviceQueueCreateInfo){.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                          .queueFamilyIndex = i,
                                          .queueCount = card.families[i].count,
                                          .pQueuePriorities = priorities};
  }
  VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES,
      .timelineSemaphore = VK_TRUE};
  const VkDeviceCreateInfo how = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                  .pNext = &timeline,
                                  .queueCreateInfoCount = card.family_count,
                                  .pQueueCreateInfos = queues,
                                  .enabledExtensionCount = 2,
                                  .ppEnabledExtensionNames = extensions};
  must(vk.CreateDevice(card.physical, &how, NULL, &card.device), "a device");
  card.semaphore = make_semaphore();
  for (uint32_t i = 0; i < card.family_count; i++)
    open_family(i);
  card.family = find_family();
}

/* ---- memory ---- */

static inline VkBuffer make_buffer(uint64_t size, VkExternalMemoryHandleTypeFlags shared,
                                   VkMemoryRequirements *needs) {
  const VkExternalMemoryBufferCreateInfo external = {
      .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO, .handleTypes = shared};
  const VkBufferCreateInfo how = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                  .pNext = shared ? &external : NULL,
                                  .size = size,
                                  .usage = USAGE};
  VkBuffer buffer = VK_NULL_HANDLE;
  must(vk.CreateBuffer(card.device, &how, NULL, &buffer), "a buffer");
  vk.GetBufferMemoryRequirements(card.device, buffer, needs);
  return buffer;
}

static inline bool make_memory(uint64_t size, uint32_t type, struct memory *out) {
  VkMemoryRequirements needs;
  void *bytes = NULL;
  *out = (struct memory){.buffer = make_buffer(size, 0, &needs)};
  const VkMemoryAllocateInfo how = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                    .allocationSize = needs.size,
                                    .memoryTypeIndex = type};
  bool can = needs.memoryTypeBits >> type & 1;
  bool made = can && !vk.AllocateMemory(card.device, &how, NULL, &out->memory);
  if (!made) {
    vk.DestroyBuffer(card.device, out->buffer, NULL);
    return false;
  }
  must(vk.BindBufferMemory(card.device, out->buffer, out->memory, 0), "bind");
  if (card.memory.memoryTypes[type].propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT)
    must(vk.MapMemory(card.device, out->memory, 0, VK_WHOLE_SIZE, 0, &bytes), "map");
  out->bytes = bytes;
  return true;
}

static inline void free_memory(const struct memory *memory) {
  vk.DestroyBuffer(card.device, memory->buffer, NULL);
  vk.FreeMemory(card.device, memory->memory, NULL);
}

/* Of the card's own; the first kind that has `want` otherwise. */
static inline uint32_t type_with(VkMemoryPropertyFlags want, VkMemoryPropertyFlags avoid) {
  for (uint32_t i = 0; i < card.memory.memoryTypeCount; i++) {
    VkMemoryPropertyFlags flags = card.memory.memoryTypes[i].propertyFlags;
    if ((flags & want) == want && !(flags & avoid))
      return i;
  }
  return avoid ? type_with(want, 0) : 0;
}

/* ---- copies ---- */

struct raw_copy {
  struct raw_queue *queue;
  VkCommandBuffer commands;
  VkBuffer from, to;
  VkBufferCopy what;
  VkSemaphore semaphore; /* counts to */
  uint64_t value;
};

static inline void submit(const struct raw_copy *copy) {
  const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                          .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  const VkTimelineSemaphoreSubmitInfo when = {.sType =
                                                  VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                              .signalSemaphoreValueCount = 1,
                                              .pSignalSemaphoreValues = &copy->value};
  const VkSubmitInfo how = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                            .pNext = &when,
                            .commandBufferCount = 1,
                            .pCommandBuffers = &copy->commands,
                            .signalSemaphoreCount = 1,
                            .pSignalSemaphores = &copy->semaphore};
  must(vk.BeginCommandBuffer(copy->commands, &begin), "begin");
  vk.CmdCopyBuffer(copy->commands, copy->from, copy->to, 1, &copy->what);
  must(vk.EndCommandBuffer(copy->commands), "end");
  pthread_mutex_lock(&copy->queue->lock);
  must(vk.QueueSubmit(copy->queue->queue, 1, &how, VK_NULL_HANDLE), "submit");
  pthread_mutex_unlock(&copy->queue->lock);
}

static inline void await(VkSemaphore semaphore, uint64_t value) {
  const VkSemaphoreWaitInfo wait = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                    .semaphoreCount = 1,
                                    .pSemaphores = &semaphore,
                                    .pValues = &value};
  must(vk.WaitSemaphores(card.device, &wait, UINT64_MAX), "wait");
}

/* One submission, waited for. Microseconds. */
static inline double copy(uint32_t index, VkBuffer from, VkBuffer to, uint64_t size) {
  struct family *family = &card.families[index];
  const struct raw_copy one = {.queue = &family->queues[0],
                               .commands = family->commands,
                               .from = from,
                               .to = to,
                               .what = {.size = size},
                               .semaphore = card.semaphore,
                               .value = ++card.started};
  uint64_t start = clock_now();
  submit(&one);
  await(card.semaphore, one.value);
  return us(start);
}

/* The fastest of some. */
static inline double best_copy(uint32_t family, VkBuffer from, VkBuffer to, uint64_t size) {
  double best = copy(family, from, to, size);
  for (int i = 0; i < RAW_ROUNDS; i++) {
    double one = copy(family, from, to, size);
    best = one < best ? one : best;
  }
  return best;
}

#endif
