/*
 * vulkan/card: among the memory that buffers can lie in and that can be shared, segments take the
 * kind that is the card's own and that no core sees, where there is one; staging takes what a core
 * sees, cached if possible. Copies go through a queue that can nothing else, where a card has one:
 * that is its copy engine.
 */
#include "device/vulkan/card.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/units.h"

#define CARD_MOST 64     /* cards of a machine */
#define CARD_FAMILIES 16 /* kinds of queues of a card */
#define CARD_EXTENSIONS 512
#define CARD_NONE UINT32_MAX
#define CARD_USAGE (VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT)
#define CARD_OPAQUE VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT

/* ---- which ---- */

struct facts {
  VkPhysicalDevice physical;
  VkPhysicalDeviceProperties2 properties;
  VkPhysicalDeviceIDProperties id;
  VkPhysicalDeviceDriverProperties driver;
  VkPhysicalDevicePCIBusInfoPropertiesEXT pci;
  VkPhysicalDeviceExternalMemoryHostPropertiesEXT host;
};

/* In one piece, for each points to the next. */
static void read_facts(const struct vulkan_load *load, VkPhysicalDevice physical,
                       struct facts *facts) {
  *facts = (struct facts){
      .physical = physical,
      .properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &facts->id},
      .id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES, .pNext = &facts->driver},
      .driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES},
      .pci = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT},
      .host = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT}};
  load->properties(physical, &facts->properties);
}

/* ... and what only some extensions tell. */
static void read_more(const struct vulkan_card *card, struct facts *facts) {
  void *next = NULL;
  read_facts(&card->load, card->physical, facts);
  if (card->has_pci) {
    facts->pci.pNext = next;
    next = &facts->pci;
  }
  if (card->host_multiple) {
    facts->host.pNext = next;
    next = &facts->host;
  }
  facts->driver.pNext = next;
  card->load.properties(card->physical, &facts->properties);
}

/* Real ones first. */
static int rank(const struct facts *facts) {
  static const int ranks[] = {[VK_PHYSICAL_DEVICE_TYPE_OTHER] = 3,
                              [VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU] = 1,
                              [VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU] = 0,
                              [VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU] = 2,
                              [VK_PHYSICAL_DEVICE_TYPE_CPU] = 4};
  VkPhysicalDeviceType type = facts->properties.properties.deviceType;
  return (size_t)type < sizeof ranks / sizeof *ranks ? ranks[type] : 3;
}

static int compare(const void *a, const void *b) {
  const struct facts *x = a, *y = b;
  int order = rank(x) - rank(y);
  if (!order)
    order = memcmp(x->id.deviceUUID, y->id.deviceUUID, VK_UUID_SIZE);
  return order ? order : memcmp(x->id.driverUUID, y->id.driverUUID, VK_UUID_SIZE);
}

/* As spec.h writes it: both in hexadecimal, as UUIDs are written. */
static void format_uuid(const uint8_t *bytes, char *out, size_t size) {
  size_t n = 0;
  for (size_t i = 0; i < VK_UUID_SIZE; i++)
    n += (size_t)snprintf(out + n, size - n, "%s%02x",
                          i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
}

static bool is_named(const struct facts *facts, const char *wish) {
  char device[40], driver[40];
  size_t n = strcspn(wish, "/");
  format_uuid(facts->id.deviceUUID, device, sizeof device);
  format_uuid(facts->id.driverUUID, driver, sizeof driver);
  return strlen(device) == n && !strncasecmp(wish, device, n) &&
         (!wish[n] || !strcasecmp(wish + n + 1, driver));
}

static VkPhysicalDevice choose(const struct spec *spec, const struct facts *facts, uint32_t count) {
  unsigned long number = strtoul(strchr(spec->id, ':') + 1, NULL, 10);
  if (!spec->uuid[0])
    return number < count ? facts[number].physical : NULL;
  for (uint32_t i = 0; i < count; i++)
    if (is_named(&facts[i], spec->uuid))
      return facts[i].physical;
  return NULL;
}

static enum status find_physical(struct vulkan_card *card, const struct spec *spec) {
  VkPhysicalDevice all[CARD_MOST];
  uint32_t found = CARD_MOST, count = 0;
  VkResult answer = card->load.list_cards(card->load.instance, &found, all);
  if (answer < VK_SUCCESS) /* drivers without a card say so in more than one way */
    return STATUS_DEVICE_NOT_FOUND;
  struct facts *facts = calloc(CARD_MOST, sizeof *facts);
  if (!facts)
    return STATUS_INTERNAL_ERROR;
  for (uint32_t i = 0; i < found; i++) {
    read_facts(&card->load, all[i], &facts[count]);
    count += facts[count].properties.properties.apiVersion >= VK_API_VERSION_1_2;
  }
  qsort(facts, count, sizeof *facts, compare);
  card->physical = choose(spec, facts, count);
  free(facts);
  return card->physical ? STATUS_OK : STATUS_DEVICE_NOT_FOUND;
}

/* ---- what it can ---- */

struct extension {
  const char *name;
  bool needed, has;
};

enum { SHARE_FD, SHARE_HOST, BUDGET, PCI, EXTENSIONS };

static const struct extension wanted[EXTENSIONS] = {
    [SHARE_FD] = {VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME, true, false},
    [SHARE_HOST] = {VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME, false, false},
    [BUDGET] = {VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, false, false},
    [PCI] = {VK_EXT_PCI_BUS_INFO_EXTENSION_NAME, false, false},
};

static bool has(const VkExtensionProperties *all, uint32_t count, const char *name) {
  for (uint32_t i = 0; i < count; i++)
    if (!strcmp(all[i].extensionName, name))
      return true;
  return false;
}

static enum status read_extensions(const struct vulkan_card *card, struct extension *out) {
  uint32_t count = CARD_EXTENSIONS;
  VkExtensionProperties *all = calloc(count, sizeof *all);
  enum status status = all ? STATUS_OK : STATUS_INTERNAL_ERROR;
  if (!status)
    status = vulkan_load_check("list what a card can",
                               card->load.list_extensions(card->physical, NULL, &count, all));
  for (int i = 0; !status && i < EXTENSIONS; i++) {
    out[i] = wanted[i];
    out[i].has = has(all, count, wanted[i].name);
    if (wanted[i].needed && !out[i].has)
      status = STATUS_DEVICE_NOT_FOUND;
  }
  free(all);
  return status;
}

/* Shared memory must lie as any other, and semaphores must count. */
static bool can_share(const struct vulkan_card *card) {
  const VkPhysicalDeviceExternalBufferInfo what = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO,
      .usage = CARD_USAGE,
      .handleType = CARD_OPAQUE};
  VkExternalBufferProperties how = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES};
  VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES};
  VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                        .pNext = &timeline};
  const VkExternalMemoryFeatureFlags both =
      VK_EXTERNAL_MEMORY_FEATURE_EXPORTABLE_BIT | VK_EXTERNAL_MEMORY_FEATURE_IMPORTABLE_BIT;
  card->load.external(card->physical, &what, &how);
  card->load.features(card->physical, &features);
  VkExternalMemoryFeatureFlags can = how.externalMemoryProperties.externalMemoryFeatures;
  return timeline.timelineSemaphore && (can & both) == both &&
         !(can & VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT);
}

static bool find_family(struct vulkan_card *card) {
  VkQueueFamilyProperties all[CARD_FAMILIES];
  uint32_t count = CARD_FAMILIES;
  const VkQueueFlags more = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
  bool found = false, alone = false;
  card->load.families(card->physical, &count, all);
  for (uint32_t i = 0; i < count; i++) {
    bool only = (all[i].queueFlags & VK_QUEUE_TRANSFER_BIT) && !(all[i].queueFlags & more);
    if (!all[i].queueCount || (!only && (found || !(all[i].queueFlags & more))) || alone)
      continue;
    card->family = i;
    card->queue_count = (uint32_t)units_min(all[i].queueCount, VULKAN_CARD_QUEUES);
    found = true;
    alone = only;
  }
  return found;
}

/* ---- opening ---- */

static enum status open_device(struct vulkan_card *card, const struct extension *extensions) {
  const char *names[EXTENSIONS];
  const float priorities[VULKAN_CARD_QUEUES] = {1, 1, 1, 1};
  uint32_t count = 0;
  for (int i = 0; i < EXTENSIONS; i++)
    if (extensions[i].has)
      names[count++] = extensions[i].name;
  const VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES,
      .timelineSemaphore = VK_TRUE};
  const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                         .queueFamilyIndex = card->family,
                                         .queueCount = card->queue_count,
                                         .pQueuePriorities = priorities};
  const VkDeviceCreateInfo how = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                  .pNext = (void *)&timeline,
                                  .queueCreateInfoCount = 1,
                                  .pQueueCreateInfos = &queue,
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
  VkBuffer buffer;
  VkMemoryRequirements needs;
  enum status status = vulkan_card_buffer(card, MIB, CARD_OPAQUE, &buffer, &needs);
  if (status)
    return status;
  card->destroy_buffer(card->device, buffer, NULL);
  card->type = find_type(memory, needs.memoryTypeBits, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                         VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
  if (card->type == CARD_NONE)
    return STATUS_DEVICE_NOT_FOUND;
  card->heap = memory->memoryTypes[card->type].heapIndex;
  card->alignment = needs.alignment;
  return STATUS_OK;
}

static enum status find_types(struct vulkan_card *card) {
  VkPhysicalDeviceMemoryProperties2 memory = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  const VkMemoryPropertyFlags seen =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  VkBuffer buffer;
  VkMemoryRequirements needs;
  card->load.memory(card->physical, &memory);
  enum status status = find_segment_type(card, &memory.memoryProperties);
  if (!status)
    status = vulkan_card_buffer(card, MIB, 0, &buffer, &needs);
  if (status)
    return status;
  card->destroy_buffer(card->device, buffer, NULL);
  card->staging_type = find_type(&memory.memoryProperties, needs.memoryTypeBits,
                                 seen | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, 0);
  if (card->staging_type == CARD_NONE)
    card->staging_type = find_type(&memory.memoryProperties, needs.memoryTypeBits, seen, 0);
  for (uint32_t i = 0; i < memory.memoryProperties.memoryTypeCount; i++)
    if (memory.memoryProperties.memoryTypes[i].propertyFlags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
      card->coherent_types |= UINT32_C(1) << i;
  return card->staging_type == CARD_NONE ? STATUS_DEVICE_NOT_FOUND : STATUS_OK;
}

static void note(struct vulkan_card *card, const struct extension *extensions) {
  struct facts facts;
  card->has_budget = extensions[BUDGET].has;
  card->has_pci = extensions[PCI].has;
  card->host_multiple = card->host_types ? 1 : 0;
  read_more(card, &facts);
  if (card->host_types)
    card->host_multiple = facts.host.minImportedHostPointerAlignment;
}

static enum status open_card(struct vulkan_card *card, const struct spec *spec) {
  struct extension extensions[EXTENSIONS];
  enum status status = vulkan_load_open(&card->load);
  if (!status)
    status = find_physical(card, spec);
  if (!status)
    status = read_extensions(card, extensions);
  if (!status && (!can_share(card) || !find_family(card)))
    status = STATUS_DEVICE_NOT_FOUND;
  if (!status)
    status = open_device(card, extensions);
  if (!status && !find_all(card, extensions[SHARE_HOST].has))
    status = STATUS_DEVICE_NOT_FOUND;
  if (!status)
    status = find_types(card);
  if (status)
    return status;
  for (uint32_t i = 0; i < card->queue_count; i++)
    card->get_queue(card->device, card->family, i, &card->queues[i].queue);
  note(card, extensions);
  return STATUS_OK;
}

enum status vulkan_card_open(const struct spec *spec, struct vulkan_card **out) {
  struct vulkan_card *card = calloc(1, sizeof *card);
  if (!card)
    return STATUS_INTERNAL_ERROR;
  for (unsigned i = 0; i < VULKAN_CARD_QUEUES; i++)
    pthread_mutex_init(&card->queues[i].lock, NULL);
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
  for (unsigned i = 0; i < VULKAN_CARD_QUEUES; i++)
    pthread_mutex_destroy(&card->queues[i].lock);
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
  struct facts facts;
  read_more(card, &facts);
  const VkPhysicalDeviceProperties *properties = &facts.properties.properties;
  bool cpu = properties->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
  snprintf(info->name, sizeof info->name, "%.95s", properties->deviceName);
  snprintf(info->driver, sizeof info->driver, "%.31s %.31s", facts.driver.driverName,
           facts.driver.driverInfo);
  format_uuid(facts.id.deviceUUID, info->uuid, sizeof info->uuid);
  format_uuid(facts.id.driverUUID, info->driver_uuid, sizeof info->driver_uuid);
  if (card->has_pci)
    snprintf(info->pci, sizeof info->pci, "%04x:%02x:%02x.%x", facts.pci.pciDomain,
             facts.pci.pciBus, facts.pci.pciDevice, facts.pci.pciFunction);
  info->type = cpu ? DEVICE_CPU : DEVICE_GPU;
  info->memory = is_unified(card) ? DEVICE_UNIFIED : DEVICE_VRAM;
  info->total_bytes = heap_size(card);
}

/* A budget is what this process could have, with what it has; what it has left is anybody's. */
void vulkan_card_budget(const struct vulkan_card *card, struct device_budget *budget) {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT figures = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 memory = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &figures};
  budget->free_bytes = budget->used_bytes = DEVICE_BYTES_UNKNOWN;
  if (!card->has_budget)
    return;
  card->load.memory(card->physical, &memory);
  uint64_t size = memory.memoryProperties.memoryHeaps[card->heap].size;
  uint64_t left = units_minus(figures.heapBudget[card->heap], figures.heapUsage[card->heap]);
  budget->free_bytes = units_min(left, size);
  budget->used_bytes = size - budget->free_bytes;
}

/* ---- making ---- */

enum status vulkan_card_buffer(const struct vulkan_card *card, uint64_t size,
                               VkExternalMemoryHandleTypeFlags shared, VkBuffer *buffer,
                               VkMemoryRequirements *needs) {
  const VkExternalMemoryBufferCreateInfo external = {
      .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO, .handleTypes = shared};
  const VkBufferCreateInfo how = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                  .pNext = shared ? &external : NULL,
                                  .size = size,
                                  .usage = CARD_USAGE};
  enum status status =
      vulkan_load_check("make a buffer", card->create_buffer(card->device, &how, NULL, buffer));
  if (!status)
    card->needs(card->device, *buffer, needs);
  return status;
}

enum status vulkan_card_submit(struct vulkan_card *card, const struct vulkan_submit *submit) {
  struct vulkan_queue *queue = &card->queues[submit->queue % card->queue_count];
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
