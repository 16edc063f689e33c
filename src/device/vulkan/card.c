/*
 * vulkan/card: among the memory that buffers can lie in and that can be shared, segments take the
 * kind that is the card's own and that no core sees, where there is one; staging takes what a core
 * sees, cached and the host's if possible.
 *
 * Bytes cross the link by a queue that can nothing else, where a card has one: that is its copy
 * engine, which is made for the link and leaves the rest of the card alone. Inside the card they go
 * by a queue that computes: a copy engine is no faster there than for a link or two (on an H100 82
 * GB/s, beside 313 by the family that computes). That is a rule, since a race at the first copy
 * would be decided by what else the card does just then; bench_vulkan_flow tells what each family
 * gives.
 */
#include "device/vulkan/card.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/units.h"
#include "device/vulkan/find.h"

#define CARD_FAMILIES 16 /* kinds of queues of a card */
#define CARD_NONE UINT32_MAX
#define CARD_USAGE (VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT)
#define CARD_OPAQUE VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT
#define CARD_DMABUF VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT

/* ---- what it can ---- */

static VkExternalMemoryProperties ask_external(const struct vulkan_card *card,
                                               VkExternalMemoryHandleTypeFlagBits kind) {
  const VkPhysicalDeviceExternalBufferInfo what = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO,
      .usage = CARD_USAGE,
      .handleType = kind};
  VkExternalBufferProperties how = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES};
  card->load.external(card->physical, &what, &how);
  return how.externalMemoryProperties;
}

/* Shared memory must lie as any other. */
static bool goes_both_ways(const VkExternalMemoryProperties *how) {
  const VkExternalMemoryFeatureFlags both =
      VK_EXTERNAL_MEMORY_FEATURE_EXPORTABLE_BIT | VK_EXTERNAL_MEMORY_FEATURE_IMPORTABLE_BIT;
  return (how->externalMemoryFeatures & both) == both &&
         !(how->externalMemoryFeatures & VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT);
}

/* A dma-buf is made of what was imported as opaque, so that nobody must hand it round. */
static bool can_share(struct vulkan_card *card) {
  VkExternalMemoryProperties opaque = ask_external(card, CARD_OPAQUE), other;
  if (!goes_both_ways(&opaque))
    return false;
  card->shared = CARD_OPAQUE;
  if (!card->has[VULKAN_FIND_DMABUF])
    return true;
  other = ask_external(card, CARD_DMABUF);
  if (goes_both_ways(&other) && (opaque.compatibleHandleTypes & CARD_DMABUF) &&
      (opaque.exportFromImportedHandleTypes & CARD_DMABUF))
    card->shared |= CARD_DMABUF;
  return true;
}

/* Semaphores must count. */
static bool can_count(const struct vulkan_card *card) {
  VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES};
  VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                        .pNext = &timeline};
  card->load.features(card->physical, &features);
  return timeline.timelineSemaphore;
}

static bool can_copy(const VkQueueFamilyProperties *family, bool alone) {
  const VkQueueFlags more = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT; /* these can copy too */
  bool only = (family->queueFlags & VK_QUEUE_TRANSFER_BIT) && !(family->queueFlags & more);
  return family->queueCount && (alone ? only : family->queueFlags & more);
}

/* The first such family; CARD_NONE: there is none. */
static uint32_t find_family(const VkQueueFamilyProperties *all, uint32_t count, bool alone) {
  for (uint32_t i = 0; i < count; i++)
    if (can_copy(&all[i], alone))
      return i;
  return CARD_NONE;
}

static struct vulkan_family *add_family(struct vulkan_card *card,
                                        const VkQueueFamilyProperties *all, uint32_t index) {
  struct vulkan_family *family = &card->families[0];
  while (family < card->families + card->family_count && family->index != index)
    family++;
  if (family == card->families + card->family_count)
    card->family_count++;
  family->index = index;
  family->count = (uint32_t)units_min(all[index].queueCount, VULKAN_CARD_QUEUES);
  return family;
}

static bool find_families(struct vulkan_card *card) {
  VkQueueFamilyProperties all[CARD_FAMILIES];
  uint32_t count = CARD_FAMILIES;
  card->load.families(card->physical, &count, all);
  uint32_t link = find_family(all, count, true), inside = find_family(all, count, false);
  if (link == CARD_NONE && inside == CARD_NONE)
    return false;
  card->ways[VULKAN_LINK] = add_family(card, all, link == CARD_NONE ? inside : link);
  card->ways[VULKAN_INSIDE] = add_family(card, all, inside == CARD_NONE ? link : inside);
  return true;
}

/* ---- opening ---- */

static enum status open_device(struct vulkan_card *card) {
  const char *names[VULKAN_FIND_EXTENSIONS];
  const float priorities[VULKAN_CARD_QUEUES] = {1, 1, 1, 1};
  uint32_t count = 0;
  for (int i = 0; i < VULKAN_FIND_EXTENSIONS; i++)
    if (card->has[i])
      names[count++] = vulkan_find_extension((enum vulkan_find_extension)i);
  const VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES,
      .timelineSemaphore = VK_TRUE};
  VkDeviceQueueCreateInfo queues[VULKAN_WAYS];
  uint32_t made = card->copies ? card->family_count : 1; /* Vulkan opens no card without a queue */
  for (uint32_t i = 0; i < made; i++)
    queues[i] = (VkDeviceQueueCreateInfo){.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                          .queueFamilyIndex = card->families[i].index,
                                          .queueCount = card->copies ? card->families[i].count : 1,
                                          .pQueuePriorities = priorities};
  const VkDeviceCreateInfo how = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                  .pNext = (void *)&timeline,
                                  .queueCreateInfoCount = made,
                                  .pQueueCreateInfos = queues,
                                  .enabledExtensionCount = count,
                                  .ppEnabledExtensionNames = names};
  return vulkan_load_check("open a card",
                           card->load.create_device(card->physical, &how, NULL, &card->device));
}

static bool find_all(struct vulkan_card *card, bool host) {
  bool found = true;
#define X(member, name)                                                                            \
  card->member = (PFN_vk##name)card->load.find_of_device(card->device, "vk" #name);                \
  found = found && card->member;
  VULKAN_OF_DEVICE(X)
#undef X
  if (host)
    card->host_types = (PFN_vkGetMemoryHostPointerPropertiesEXT)card->load.find_of_device(
        card->device, "vkGetMemoryHostPointerPropertiesEXT");
  return found;
}

/* Of the allowed kinds the first that has all of `want` and, if it can be, none of `avoid`. */
static uint32_t find_type(const VkPhysicalDeviceMemoryProperties *memory, uint32_t allowed,
                          VkMemoryPropertyFlags want, VkMemoryPropertyFlags avoid) {
  uint32_t second = CARD_NONE;
  for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
    VkMemoryPropertyFlags flags = memory->memoryTypes[i].propertyFlags;
    if (!(allowed >> i & 1) || (flags & want) != want)
      continue;
    if (!(flags & avoid))
      return i;
    if (second == CARD_NONE)
      second = i;
  }
  return second;
}

static enum status find_segment_type(struct vulkan_card *card,
                                     const VkPhysicalDeviceMemoryProperties *memory) {
  VkMemoryRequirements needs;
  enum status status = vulkan_card_needs(card, MIB, card->shared, &needs);
  if (status)
    return status;
  card->type = find_type(memory, needs.memoryTypeBits, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                         VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
  if (card->type == CARD_NONE)
    return STATUS_DEVICE_NOT_FOUND;
  const VkMemoryPropertyFlags seen = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                     VK_MEMORY_PROPERTY_HOST_COHERENT_BIT |
                                     VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  card->heap = memory->memoryTypes[card->type].heapIndex;
  card->seen = (memory->memoryTypes[card->type].propertyFlags & seen) == seen;
  card->alignment = needs.alignment;
  return STATUS_OK;
}

static enum status find_types(struct vulkan_card *card) {
  VkPhysicalDeviceMemoryProperties2 memory = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  const VkMemoryPropertyFlags seen =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  VkMemoryRequirements needs;
  card->load.memory(card->physical, &memory);
  enum status status = find_segment_type(card, &memory.memoryProperties);
  if (!status)
    status = vulkan_card_needs(card, MIB, 0, &needs);
  if (status)
    return status;
  card->staging_type =
      find_type(&memory.memoryProperties, needs.memoryTypeBits,
                seen | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
  if (card->staging_type == CARD_NONE)
    card->staging_type = find_type(&memory.memoryProperties, needs.memoryTypeBits, seen,
                                   VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
  for (uint32_t i = 0; i < memory.memoryProperties.memoryTypeCount; i++)
    if (memory.memoryProperties.memoryTypes[i].propertyFlags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
      card->coherent_types |= UINT32_C(1) << i;
  return card->staging_type == CARD_NONE ? STATUS_DEVICE_NOT_FOUND : STATUS_OK;
}

static uint64_t read_most(const struct vulkan_card *card) {
  VkPhysicalDeviceMaintenance3Properties limits = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
  VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                     .pNext = &limits};
  card->load.properties(card->physical, &all);
  return limits.maxMemoryAllocationSize;
}

static void note(struct vulkan_card *card) {
  struct vulkan_find_facts facts;
  vulkan_find_facts(&card->load, card->physical, card->has, &facts);
  card->most = read_most(card);
  VkPhysicalDeviceType type = facts.properties.properties.deviceType;
  bool shares =
      type == VK_PHYSICAL_DEVICE_TYPE_CPU || type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
  if (card->host_types && shares)
    card->host_multiple = facts.host.minImportedHostPointerAlignment;
}

static enum status open_card(struct vulkan_card *card, const struct spec *spec) {
  enum status status = vulkan_load_open(&card->load);
  if (!status)
    status = vulkan_find_physical(&card->load, spec, &card->physical);
  if (!status)
    status = vulkan_find_extensions(&card->load, card->physical, card->has);
  if (!status && (!can_share(card) || !can_count(card) || !find_families(card)))
    status = STATUS_DEVICE_NOT_FOUND;
  if (!status)
    status = open_device(card);
  if (!status && !find_all(card, card->has[VULKAN_FIND_HOST]))
    status = STATUS_DEVICE_NOT_FOUND;
  if (!status)
    status = find_types(card);
  if (status)
    return status;
  for (uint32_t i = 0; card->copies && i < card->family_count; i++)
    for (uint32_t n = 0; n < card->families[i].count; n++)
      card->get_queue(card->device, card->families[i].index, n, &card->families[i].queues[n].queue);
  note(card);
  return STATUS_OK;
}

enum status vulkan_card_open(const struct spec *spec, bool copies, struct vulkan_card **out) {
  struct vulkan_card *card = calloc(1, sizeof *card);
  if (!card)
    return STATUS_INTERNAL_ERROR;
  card->copies = copies;
  for (unsigned i = 0; i < VULKAN_WAYS; i++)
    for (unsigned n = 0; n < VULKAN_CARD_QUEUES; n++)
      pthread_mutex_init(&card->families[i].queues[n].lock, NULL);
  enum status status = open_card(card, spec);
  if (status)
    vulkan_card_close(card);
  else
    *out = card;
  return status;
}

void vulkan_card_close(struct vulkan_card *card) {
  if (!card)
    return;
  if (card->device && card->destroy_device)
    card->destroy_device(card->device, NULL);
  vulkan_load_close(&card->load);
  for (unsigned i = 0; i < VULKAN_WAYS; i++)
    for (unsigned n = 0; n < VULKAN_CARD_QUEUES; n++)
      pthread_mutex_destroy(&card->families[i].queues[n].lock);
  free(card);
}

/* ---- what it says ---- */

/* A machine that has no memory but the card's: a core sees it too. */
static bool is_unified(const struct vulkan_card *card) {
  VkPhysicalDeviceMemoryProperties2 memory = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  card->load.memory(card->physical, &memory);
  const VkPhysicalDeviceMemoryProperties *all = &memory.memoryProperties;
  for (uint32_t i = 0; i < all->memoryHeapCount; i++)
    if (!(all->memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT))
      return false;
  return true;
}

static uint64_t heap_size(const struct vulkan_card *card) {
  VkPhysicalDeviceMemoryProperties2 memory = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  card->load.memory(card->physical, &memory);
  return memory.memoryProperties.memoryHeaps[card->heap].size;
}

void vulkan_card_describe(const struct vulkan_card *card, struct device_info *info) {
  struct vulkan_find_facts facts;
  vulkan_find_facts(&card->load, card->physical, card->has, &facts);
  const VkPhysicalDeviceProperties *properties = &facts.properties.properties;
  bool cpu = properties->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
  bool shares = properties->deviceType == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
  snprintf(info->name, sizeof info->name, "%.95s", properties->deviceName);
  snprintf(info->driver, sizeof info->driver, "%.31s %.31s", facts.driver.driverName,
           facts.driver.driverInfo);
  vulkan_find_uuid(facts.id.deviceUUID, info->uuid);
  vulkan_find_uuid(facts.id.driverUUID, info->driver_uuid);
  if (card->has[VULKAN_FIND_PCI])
    vulkan_find_pci(&facts, info->pci, sizeof info->pci);
  info->type = cpu ? DEVICE_CPU : DEVICE_GPU;
  info->memory = shares || is_unified(card) ? DEVICE_UNIFIED : DEVICE_VRAM;
  info->total_bytes = heap_size(card);
}

/* A budget is what this process could have, with what it has; what it has left is anybody's.
 * What it has beyond that is wanted back, and counts as used twice: else nobody would see it go. */
void vulkan_card_budget(const struct vulkan_card *card, struct device_budget *budget) {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT figures = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 memory = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &figures};
  budget->free_bytes = budget->used_bytes = DEVICE_BYTES_UNKNOWN;
  if (!card->has[VULKAN_FIND_BUDGET])
    return;
  card->load.memory(card->physical, &memory);
  uint64_t size = memory.memoryProperties.memoryHeaps[card->heap].size;
  uint64_t left = units_minus(figures.heapBudget[card->heap], figures.heapUsage[card->heap]);
  budget->free_bytes = units_min(left, size);
  budget->used_bytes = size - budget->free_bytes +
                       units_minus(figures.heapUsage[card->heap], figures.heapBudget[card->heap]);
}

/* ---- making ---- */

enum status vulkan_card_buffer(const struct vulkan_card *card, uint64_t size,
                               VkExternalMemoryHandleTypeFlags shared, VkBuffer *buffer,
                               VkMemoryRequirements *needs) {
  const VkExternalMemoryBufferCreateInfo external = {
      .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO, .handleTypes = shared};
  const uint32_t families[VULKAN_WAYS] = {card->families[0].index, card->families[1].index};
  const VkBufferCreateInfo how = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                  .pNext = shared ? &external : NULL,
                                  .size = size,
                                  .usage = CARD_USAGE,
                                  .sharingMode = card->family_count > 1 ? VK_SHARING_MODE_CONCURRENT
                                                                        : VK_SHARING_MODE_EXCLUSIVE,
                                  .queueFamilyIndexCount = card->family_count,
                                  .pQueueFamilyIndices = families};
  enum status status =
      vulkan_load_check("make a buffer", card->create_buffer(card->device, &how, NULL, buffer));
  if (!status)
    card->needs(card->device, *buffer, needs);
  return status;
}

enum status vulkan_card_needs(const struct vulkan_card *card, uint64_t size,
                              VkExternalMemoryHandleTypeFlags shared, VkMemoryRequirements *needs) {
  VkBuffer buffer;
  enum status status = vulkan_card_buffer(card, size, shared, &buffer, needs);
  if (!status)
    card->destroy_buffer(card->device, buffer, NULL);
  return status;
}

enum status vulkan_card_submit(struct vulkan_card *card, const struct vulkan_submit *submit) {
  struct vulkan_family *family = card->ways[submit->way];
  struct vulkan_queue *queue = &family->queues[submit->queue % family->count];
  const VkTimelineSemaphoreSubmitInfo when = {.sType =
                                                  VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                              .signalSemaphoreValueCount = 1,
                                              .pSignalSemaphoreValues = &submit->value};
  const VkSubmitInfo what = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                             .pNext = &when,
                             .commandBufferCount = 1,
                             .pCommandBuffers = &submit->commands,
                             .signalSemaphoreCount = 1,
                             .pSignalSemaphores = &submit->semaphore};
  pthread_mutex_lock(&queue->lock);
  VkResult answer = card->submit(queue->queue, 1, &what, VK_NULL_HANDLE);
  pthread_mutex_unlock(&queue->lock);
  return vulkan_load_check("start a copy", answer);
}
