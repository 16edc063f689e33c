/*
 * vk_pretend: the layer. One record for each instance, each device and each piece of memory; what
 * is asked of any of them goes to the next below, but for what a card would say otherwise.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vk_pretend_handles.h"

enum { ALL_TYPES = 7, HOST_TYPES = 6 };

struct memory {
  VkDevice device;
  VkDeviceMemory handle;
  uint64_t size;
  uint32_t card, type;
  bool noted; /* imported, or exported: counted by its descriptors */
  struct memory *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct instance *instances;
static struct device *devices;
static struct memory *memories;
static uint64_t allocations;

static void *key_of(const void *handle) { return *(void *const *)handle; }

struct instance *pretend_instance_of(const void *handle) {
  pthread_mutex_lock(&lock);
  struct instance *instance = instances;
  while (instance && instance->key != key_of(handle))
    instance = instance->next;
  pthread_mutex_unlock(&lock);
  return instance;
}

struct device *pretend_device_of(const void *handle) {
  pthread_mutex_lock(&lock);
  struct device *device = devices;
  while (device && device->key != key_of(handle))
    device = device->next;
  pthread_mutex_unlock(&lock);
  return device;
}

static uint32_t card_of(const struct instance *instance, VkPhysicalDevice physical) {
  uint32_t card = 0;
  while (card < instance->count && instance->cards[card] != physical)
    card++;
  return card;
}

/* ---- what a card says ---- */

static uint64_t used(uint32_t card) {
  uint64_t bytes = pretend_exported(card);
  pthread_mutex_lock(&lock);
  for (const struct memory *memory = memories; memory; memory = memory->next)
    if (memory->card == card && !memory->type && !memory->noted)
      bytes += memory->size;
  pthread_mutex_unlock(&lock);
  return bytes;
}

static void *find_in_chain(void *chain, VkStructureType type) {
  VkBaseOutStructure *each = chain;
  while (each && each->sType != type)
    each = each->pNext;
  return each;
}

static VKAPI_ATTR void VKAPI_CALL get_properties(VkPhysicalDevice physical,
                                                 VkPhysicalDeviceProperties2 *out) {
  const struct instance *instance = pretend_instance_of(physical);
  instance->vkGetPhysicalDeviceProperties2(physical, out);
  uint32_t card = card_of(instance, physical);
  out->properties.deviceType = pretend_type();
  VkPhysicalDeviceIDProperties *id =
      find_in_chain(out->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES);
  if (id)
    pretend_uuid(card, id->deviceUUID);
  VkPhysicalDeviceMaintenance3Properties *most =
      find_in_chain(out->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES);
  if (most)
    most->maxMemoryAllocationSize = pretend_most();
  VkPhysicalDevicePCIBusInfoPropertiesEXT *pci =
      find_in_chain(out->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT);
  if (pci)
    pretend_address(card, pci);
}

static VKAPI_ATTR void VKAPI_CALL get_memory(VkPhysicalDevice physical,
                                             VkPhysicalDeviceMemoryProperties2 *out) {
  const VkMemoryPropertyFlags coherent =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  const VkMemoryPropertyFlags seen = coherent | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  const struct instance *instance = pretend_instance_of(physical);
  uint64_t host = 4096 * MIB;
  out->memoryProperties = (VkPhysicalDeviceMemoryProperties){
      .memoryTypeCount = 3,
      .memoryTypes = {{VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | (pretend_seen() ? seen : 0), 0},
                      {coherent, 1},
                      {seen, 1}},
      .memoryHeapCount = 2,
      .memoryHeaps = {{pretend_size(), VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}, {host, 0}}};
  VkPhysicalDeviceMemoryBudgetPropertiesEXT *budget =
      find_in_chain(out->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT);
  if (!budget)
    return;
  memset(budget->heapBudget, 0, sizeof budget->heapBudget);
  memset(budget->heapUsage, 0, sizeof budget->heapUsage);
  budget->heapBudget[0] = pretend_budget();
  budget->heapUsage[0] = used(card_of(instance, physical));
  budget->heapBudget[1] = host;
}

enum { BUDGET, PCI, DMABUF, ADDED };
static const VkExtensionProperties added[ADDED] = {
    [BUDGET] = {VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, 1},
    [PCI] = {VK_EXT_PCI_BUS_INFO_EXTENSION_NAME, 2},
    [DMABUF] = {VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME, 1}};

static bool is_added(const char *name) {
  for (int i = 0; i < ADDED; i++)
    if (!strcmp(name, added[i].extensionName))
      return true;
  return false;
}

static VKAPI_ATTR VkResult VKAPI_CALL list_extensions(VkPhysicalDevice physical, const char *layer,
                                                      uint32_t *count, VkExtensionProperties *out) {
  const struct instance *instance = pretend_instance_of(physical);
  uint32_t room = *count;
  VkResult answer = instance->vkEnumerateDeviceExtensionProperties(physical, layer, count, out);
  if (answer || layer)
    return answer;
  for (int i = 0; i < ADDED; i++) {
    if ((i == PCI && !getenv("VK_PRETEND_PCI")) || (i == DMABUF && !pretend_passes_dmabufs()))
      continue;
    if (out && *count == room)
      return VK_INCOMPLETE;
    if (out)
      out[*count] = added[i];
    ++*count;
  }
  const char *lacks = getenv("VK_PRETEND_LACKS");
  for (uint32_t i = 0; out && lacks && i < *count; i++)
    if (!strcmp(out[i].extensionName, lacks))
      out[i].extensionName[0] = 0;
  return VK_SUCCESS;
}

/* ---- memory ---- */

static bool is_import(const VkMemoryAllocateInfo *how) {
  for (const VkBaseInStructure *each = how->pNext; each; each = each->pNext)
    if (each->sType == VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR ||
        each->sType == VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT)
      return true;
  return false;
}

static bool is_refused(const struct device *device, const VkMemoryAllocateInfo *how) {
  uint64_t every = pretend_setting("VK_PRETEND_FAIL", 0);
  pthread_mutex_lock(&lock);
  bool unlucky = every && ++allocations % every == 0;
  pthread_mutex_unlock(&lock);
  return unlucky || how->allocationSize > pretend_most() ||
         used(device->card) + how->allocationSize > pretend_budget();
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate(VkDevice handle, const VkMemoryAllocateInfo *how,
                                               const VkAllocationCallbacks *callbacks,
                                               VkDeviceMemory *out) {
  const struct device *device = pretend_device_of(handle);
  bool import = is_import(how);
  if (!import && (how->memoryTypeIndex ? pretend_has("full") : is_refused(device, how)))
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  struct memory *memory = calloc(1, sizeof *memory);
  if (!memory)
    return VK_ERROR_OUT_OF_HOST_MEMORY;
  VkMemoryAllocateInfo real = *how;
  struct pretend_chain chain;
  real.memoryTypeIndex = 0;
  VkResult answer = pretend_real_memory(&real, &chain);
  if (!answer)
    answer = device->vkAllocateMemory(handle, &real, callbacks, out);
  if (answer) {
    free(memory);
    return answer;
  }
  *memory = (struct memory){.device = handle,
                            .handle = *out,
                            .size = how->allocationSize,
                            .card = device->card,
                            .type = how->memoryTypeIndex,
                            .noted = import};
  pthread_mutex_lock(&lock);
  memory->next = memories;
  memories = memory;
  pthread_mutex_unlock(&lock);
  return VK_SUCCESS;
}

/* Under the lock. */
static struct memory **find_memory(VkDevice device, VkDeviceMemory handle) {
  struct memory **at = &memories;
  while (*at && ((*at)->device != device || (*at)->handle != handle))
    at = &(*at)->next;
  return at;
}

static VKAPI_ATTR void VKAPI_CALL free_memory(VkDevice handle, VkDeviceMemory gone,
                                              const VkAllocationCallbacks *callbacks) {
  if (gone)
    pretend_wait_while("slow");
  pthread_mutex_lock(&lock);
  struct memory **at = find_memory(handle, gone), *memory = *at;
  if (memory)
    *at = memory->next;
  pthread_mutex_unlock(&lock);
  free(memory);
  pretend_device_of(handle)->vkFreeMemory(handle, gone, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL map(VkDevice handle, VkDeviceMemory which,
                                          VkDeviceSize offset, VkDeviceSize size,
                                          VkMemoryMapFlags flags, void **out) {
  pthread_mutex_lock(&lock);
  const struct memory *memory = *find_memory(handle, which);
  bool far = memory && !memory->type && (!pretend_seen() || pretend_has("far"));
  pthread_mutex_unlock(&lock);
  return far ? VK_ERROR_MEMORY_MAP_FAILED
             : pretend_device_of(handle)->vkMapMemory(handle, which, offset, size, flags, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL export_fd(VkDevice handle, const VkMemoryGetFdInfoKHR *how,
                                                int *out) {
  struct stat stat;
  VkMemoryGetFdInfoKHR real = *how;
  real.handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT;
  VkResult answer = pretend_device_of(handle)->vkGetMemoryFdKHR(handle, &real, out);
  if (answer || !getenv("VK_PRETEND_DIR") || fstat(*out, &stat))
    return answer;
  pthread_mutex_lock(&lock);
  struct memory *memory = *find_memory(handle, how->memory);
  bool first = memory && !memory->noted;
  if (first) {
    memory->noted = true;
    pretend_note(stat.st_ino, memory->size, memory->card);
  }
  pthread_mutex_unlock(&lock);
  return answer;
}

static VKAPI_ATTR void VKAPI_CALL needs(VkDevice handle, VkBuffer buffer,
                                        VkMemoryRequirements *out) {
  pretend_device_of(handle)->vkGetBufferMemoryRequirements(handle, buffer, out);
  out->memoryTypeBits = ALL_TYPES;
}

static VKAPI_ATTR VkResult VKAPI_CALL host_types(VkDevice handle,
                                                 VkExternalMemoryHandleTypeFlagBits kind,
                                                 const void *bytes,
                                                 VkMemoryHostPointerPropertiesEXT *out) {
  VkResult answer =
      pretend_device_of(handle)->vkGetMemoryHostPointerPropertiesEXT(handle, kind, bytes, out);
  out->memoryTypeBits = HOST_TYPES;
  return answer;
}

static VKAPI_ATTR void VKAPI_CALL copy(VkCommandBuffer commands, VkBuffer from, VkBuffer to,
                                       uint32_t count, const VkBufferCopy *regions) {
  count -= count > 1 && pretend_remove("torn");
  pretend_device_of(commands)->vkCmdCopyBuffer(commands, from, to, count, regions);
}

/* ---- instances and devices ---- */

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *how,
                                                      const VkAllocationCallbacks *callbacks,
                                                      VkInstance *out) {
  VkLayerInstanceCreateInfo *link = pretend_instance_link(how);
  struct instance *instance = calloc(1, sizeof *instance);
  if (!link || !instance) {
    free(instance);
    return VK_ERROR_INITIALIZATION_FAILED;
  }
  instance->find = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  VkResult answer =
      ((PFN_vkCreateInstance)instance->find(NULL, "vkCreateInstance"))(how, callbacks, out);
  if (answer) {
    free(instance);
    return answer;
  }
  instance->key = key_of(*out);
#define FIND(name) instance->name = (PFN_##name)instance->find(*out, #name);
  OF_INSTANCE(FIND)
#undef FIND
  pthread_mutex_lock(&lock);
  instance->next = instances;
  instances = instance;
  pthread_mutex_unlock(&lock);
  return VK_SUCCESS;
}

/* Each card keeps the place that the loader gave it. */
static VKAPI_ATTR VkResult VKAPI_CALL list_cards(VkInstance handle, uint32_t *count,
                                                 VkPhysicalDevice *out) {
  struct instance *instance = pretend_instance_of(handle);
  pretend_trouble();
  VkResult answer = instance->vkEnumeratePhysicalDevices(handle, count, out);
  if (answer >= VK_SUCCESS && out) {
    instance->count = *count < CARDS ? *count : CARDS;
    for (uint32_t i = 0; i < instance->count; i++)
      instance->cards[i] = out[i];
  }
  return answer;
}

static VKAPI_ATTR void VKAPI_CALL destroy_instance(VkInstance handle,
                                                   const VkAllocationCallbacks *callbacks) {
  struct instance *instance = pretend_instance_of(handle), **at = &instances;
  PFN_vkDestroyInstance destroy = instance->vkDestroyInstance;
  pthread_mutex_lock(&lock);
  while (*at != instance)
    at = &(*at)->next;
  *at = instance->next;
  pthread_mutex_unlock(&lock);
  free(instance);
  destroy(handle, callbacks);
}

static VkResult create_below(VkPhysicalDevice physical, const VkDeviceCreateInfo *how,
                             PFN_vkCreateDevice create, VkDevice *out) {
  const char *names[64];
  VkDeviceQueueCreateInfo queue;
  VkDeviceCreateInfo real = *how;
  real.enabledExtensionCount = 0;
  real.ppEnabledExtensionNames = names;
  for (uint32_t i = 0; i < how->enabledExtensionCount && i < 64; i++)
    if (!is_added(how->ppEnabledExtensionNames[i]))
      names[real.enabledExtensionCount++] = how->ppEnabledExtensionNames[i];
  pretend_real_queues(&real, &queue);
  return create(physical, &real, NULL, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical,
                                                    const VkDeviceCreateInfo *how,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkDevice *out) {
  const struct instance *instance = pretend_instance_of(physical);
  VkLayerDeviceCreateInfo *link = pretend_device_link(how);
  struct device *device = calloc(1, sizeof *device);
  (void)callbacks;
  if (!link || !device) {
    free(device);
    return VK_ERROR_INITIALIZATION_FAILED;
  }
  device->find = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
  device->card = card_of(instance, physical);
  pthread_mutex_init(&device->lock, NULL);
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  VkResult answer = create_below(physical, how, instance->vkCreateDevice, out);
  if (answer) {
    free(device);
    return answer;
  }
  device->key = key_of(*out);
#define FIND(name) device->name = (PFN_##name)device->find(*out, #name);
  OF_DEVICE(FIND)
#undef FIND
  pthread_mutex_lock(&lock);
  device->next = devices;
  devices = device;
  pthread_mutex_unlock(&lock);
  return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL destroy_device(VkDevice handle,
                                                 const VkAllocationCallbacks *callbacks) {
  struct device *device = pretend_device_of(handle), **at = &devices;
  PFN_vkDestroyDevice destroy = device->vkDestroyDevice;
  pthread_mutex_lock(&lock);
  while (*at != device)
    at = &(*at)->next;
  *at = device->next;
  pthread_mutex_unlock(&lock);
  pthread_mutex_destroy(&device->lock);
  free(device);
  destroy(handle, callbacks);
}

/* ---- what the loader asks for ---- */

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL find_of_device(VkDevice handle, const char *name);
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL find_of_instance(VkInstance handle,
                                                                 const char *name);

static const struct {
  const char *name;
  PFN_vkVoidFunction function;
  bool of_device;
} ours[] = {
#define ROW(name, function, of_device)                                                             \
  { #name, (PFN_vkVoidFunction)(function), of_device }
    ROW(vkGetInstanceProcAddr, find_of_instance, false),
    ROW(vkCreateInstance, create_instance, false),
    ROW(vkDestroyInstance, destroy_instance, false),
    ROW(vkEnumeratePhysicalDevices, list_cards, false),
    ROW(vkGetPhysicalDeviceProperties2, get_properties, false),
    ROW(vkGetPhysicalDeviceMemoryProperties2, get_memory, false),
    ROW(vkGetPhysicalDeviceQueueFamilyProperties, pretend_families, false),
    ROW(vkEnumerateDeviceExtensionProperties, list_extensions, false),
    ROW(vkGetPhysicalDeviceExternalBufferProperties, pretend_external, false),
    ROW(vkCreateDevice, create_device, false),
    ROW(vkGetDeviceProcAddr, find_of_device, true),
    ROW(vkDestroyDevice, destroy_device, true),
    ROW(vkAllocateMemory, allocate, true),
    ROW(vkFreeMemory, free_memory, true),
    ROW(vkMapMemory, map, true),
    ROW(vkGetMemoryFdKHR, export_fd, true),
    ROW(vkGetMemoryFdPropertiesKHR, pretend_fd_types, true),
    ROW(vkGetDeviceQueue, pretend_get_queue, true),
    ROW(vkCreateCommandPool, pretend_create_pool, true),
    ROW(vkCreateBuffer, pretend_create_buffer, true),
    ROW(vkQueueSubmit, pretend_submit, true),
    ROW(vkWaitSemaphores, pretend_wait, true),
    ROW(vkCmdCopyBuffer, copy, true),
    ROW(vkGetBufferMemoryRequirements, needs, true),
    ROW(vkGetMemoryHostPointerPropertiesEXT, host_types, true),
#undef ROW
};

static PFN_vkVoidFunction find_ours(const char *name, bool of_device) {
  for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
    if ((!of_device || ours[i].of_device) && !strcmp(ours[i].name, name))
      return ours[i].function;
  return NULL;
}

static PFN_vkVoidFunction find_of_device(VkDevice handle, const char *name) {
  PFN_vkVoidFunction function = find_ours(name, true);
  const struct device *device = function ? NULL : pretend_device_of(handle);
  return device ? device->find(handle, name) : function;
}

static PFN_vkVoidFunction find_of_instance(VkInstance handle, const char *name) {
  PFN_vkVoidFunction function = find_ours(name, false);
  const struct instance *instance = function || !handle ? NULL : pretend_instance_of(handle);
  return instance ? instance->find(handle, name) : function;
}

VK_LAYER_EXPORT VKAPI_ATTR VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *pVersionStruct) {
  if (pVersionStruct->loaderLayerInterfaceVersion > 2)
    pVersionStruct->loaderLayerInterfaceVersion = 2;
  pVersionStruct->pfnGetInstanceProcAddr = find_of_instance;
  pVersionStruct->pfnGetDeviceProcAddr = find_of_device;
  pVersionStruct->pfnGetPhysicalDeviceProcAddr = NULL;
  return VK_SUCCESS;
}
