/*
 * vulkan/card: one of the cards that Vulkan has, opened: its functions, its queues, and the
 * kinds of memory that matter here.
 *
 * Which one a spec means: with uuid=DEVICE[/DRIVER] the card, and the driver, that say so of
 * themselves; else the number counts real cards first and software last, each kind by UUID, for
 * drivers are found in no certain order.
 *
 * Any thread. The driver's objects are used as Vulkan says: a queue by one thread at a time, which
 * vulkan_card_submit sees to.
 */
#ifndef DEVICE_VULKAN_CARD_H
#define DEVICE_VULKAN_CARD_H

#include <pthread.h>

#include "device/device.h"
#include "device/vulkan/find.h"
#include "device/vulkan/load.h"

#define VULKAN_OF_DEVICE(X)                                                                        \
  X(destroy_device, DestroyDevice)                                                                 \
  X(get_queue, GetDeviceQueue)                                                                     \
  X(submit, QueueSubmit)                                                                           \
  X(allocate, AllocateMemory)                                                                      \
  X(free_memory, FreeMemory)                                                                       \
  X(map, MapMemory)                                                                                \
  X(export_fd, GetMemoryFdKHR)                                                                     \
  X(fd_types, GetMemoryFdPropertiesKHR)                                                            \
  X(create_buffer, CreateBuffer)                                                                   \
  X(destroy_buffer, DestroyBuffer)                                                                 \
  X(needs, GetBufferMemoryRequirements)                                                            \
  X(bind, BindBufferMemory)                                                                        \
  X(create_pool, CreateCommandPool)                                                                \
  X(destroy_pool, DestroyCommandPool)                                                              \
  X(allocate_commands, AllocateCommandBuffers)                                                     \
  X(begin, BeginCommandBuffer)                                                                     \
  X(end, EndCommandBuffer)                                                                         \
  X(copy, CmdCopyBuffer)                                                                           \
  X(fill, CmdFillBuffer)                                                                           \
  X(barrier, CmdPipelineBarrier)                                                                   \
  X(create_semaphore, CreateSemaphore)                                                             \
  X(destroy_semaphore, DestroySemaphore)                                                           \
  X(wait, WaitSemaphores)

#define VULKAN_CARD_QUEUES 4 /* of a family: while one signals that it is done, the next copies */

/* Between the host and the card; from and to the card's own memory. */
enum vulkan_way { VULKAN_LINK, VULKAN_INSIDE, VULKAN_WAYS };

struct vulkan_family {
  uint32_t index, count; /* count: of queues */
  struct vulkan_queue {
    VkQueue queue;
    pthread_mutex_t lock;
  } queues[VULKAN_CARD_QUEUES];
};

struct vulkan_card {
  struct vulkan_load load;
  VkPhysicalDevice physical;
  VkDevice device;
  bool copies; /* else nothing is submitted */
  struct vulkan_family families[VULKAN_WAYS];
  uint32_t family_count;
  struct vulkan_family *ways[VULKAN_WAYS]; /* of the families the one that takes it */
  VkExternalMemoryHandleTypeFlags shared;  /* how segments are: opaque, as dma-bufs too, or not */
  uint32_t type, heap;                     /* of segments */
  bool seen; /* segments, by a core as well as it sees its own memory: cached, coherent */
  uint32_t staging_type;   /* what a core fills or empties, coherent */
  uint32_t coherent_types; /* a bit each */
  uint64_t most;           /* that the driver makes at once */
  uint64_t alignment;      /* of a segment, a power of two */
  uint64_t host_multiple;  /* what host memory that is lent begins and ends at; 0: none is, for the
                              card has its own, or cannot */
  bool has[VULKAN_FIND_EXTENSIONS];
  PFN_vkGetMemoryHostPointerPropertiesEXT host_types; /* NULL: it cannot */
#define X(member, name) PFN_vk##name member;
  VULKAN_OF_DEVICE(X)
#undef X
};

/* As commands name memory. */
struct vulkan_place {
  VkBuffer buffer;
  uint64_t offset;
};

/* DEVICE_NOT_FOUND: no such card, or none that shares its memory as a descriptor. Who does not copy
 * has no queues to submit to, which may cost memory of the card. */
enum status vulkan_card_open(const struct spec *spec, bool copies, struct vulkan_card **out);
/* Everything made with it is destroyed, nothing under way. Harmless on NULL. */
void vulkan_card_close(struct vulkan_card *card);
/* Name, UUIDs, address, driver, kind and size of the heap; the rest is left as it is. */
void vulkan_card_describe(const struct vulkan_card *card, struct device_info *info);
/* DEVICE_BYTES_UNKNOWN where the driver does not say. */
void vulkan_card_budget(const struct vulkan_card *card, struct device_budget *budget);

/* A buffer that is to lie in a segment, and how much memory of which kinds it needs: the same in
 * every process, for whoever imports a segment must ask for as much as its maker. */
enum status vulkan_card_buffer(const struct vulkan_card *card, uint64_t size,
                               VkExternalMemoryHandleTypeFlags shared, VkBuffer *buffer,
                               VkMemoryRequirements *needs);
/* The latter alone. */
enum status vulkan_card_needs(const struct vulkan_card *card, uint64_t size,
                              VkExternalMemoryHandleTypeFlags shared, VkMemoryRequirements *needs);
/* Signals `semaphore` with `value` when the commands are done. What goes to one queue is done in
 * order; any number means one of the queues. The commands are of a pool of the way's family. */
struct vulkan_submit {
  enum vulkan_way way;
  unsigned queue;
  VkCommandBuffer commands;
  VkSemaphore semaphore;
  uint64_t value;
};
enum status vulkan_card_submit(struct vulkan_card *card, const struct vulkan_submit *submit);

#endif
