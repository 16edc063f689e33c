/*
 * bench_vulkan_calls: where the time of a transfer by Vulkan goes. What the calls of a driver take,
 * each alone, on the first real card, or on a software driver where there is none. Talks to the
 * driver itself and shares no code with src/device/vulkan. One line per answer; ends with 1 when
 * there is no card.
 *
 *   facts     limits, kinds of memory, families of queues
 *   memory    each kind that a core sees: a core's copy in and out, the card's copy from and to it
 *   families  each family: one large copy, and many small ones, each submitted and waited for
 *   import    host memory lent to the card: what it takes by size and by kind of mapping
 *   segments  memory that is exported and imported again, also beyond maxMemoryAllocationSize
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include "base/clock.h"
#include "base/os_memfd.h"
#include "base/units.h"

#define SIZE (64 * MIB)
#define SMALL (512 * KIB) /* what the worker has under way at a time */
#define ROUNDS 5
#define MOST 64
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

struct family {
  VkQueue queue;
  VkCommandBuffer commands;
};

static struct {
  VkInstance instance;
  VkPhysicalDevice physical;
  VkDevice device;
  VkPhysicalDeviceMemoryProperties memory;
  VkQueueFamilyProperties properties[MOST];
  struct family families[MOST];
  uint32_t family_count, family; /* the one that copies when no other is asked for */
  VkSemaphore semaphore;
  uint64_t started;
} card;

struct memory {
  VkDeviceMemory memory;
  VkBuffer buffer;
  char *bytes; /* NULL: not mapped */
};

static double us(uint64_t since) { return (double)(clock_now() - since) / 1e3; }

static double rate(uint64_t size, double us_taken) { return (double)size / us_taken / 1e3; }

static void must(VkResult answer, const char *what) {
  if (answer >= VK_SUCCESS)
    return;
  printf("%s: %d\n", what, (int)answer);
  exit(1);
}

/* ---- a card ---- */

static void find_functions(PFN_vkGetInstanceProcAddr find) {
#define X(name) vk.name = (PFN_vk##name)find(card.instance, "vk" #name);
  FUNCTIONS(X)
#undef X
}

static bool open_instance(void) {
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

static void print_facts(VkPhysicalDevice physical) {
  VkPhysicalDeviceExternalMemoryHostPropertiesEXT host = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT};
  VkPhysicalDeviceMaintenance3Properties limits = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES, .pNext = &host};
  VkPhysicalDeviceMaintenance4Properties buffers = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES, .pNext = &limits};
  VkPhysicalDeviceDriverProperties driver = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES, .pNext = &buffers};
  VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                     .pNext = &driver};
  vk.GetPhysicalDeviceProperties2(physical, &all);
  printf("facts: %s, %s %s\n", all.properties.deviceName, driver.driverName, driver.driverInfo);
  printf("facts: maxMemoryAllocationSize %.0f MiB, maxBufferSize %.0f MiB, host memory is lent by "
         "%llu bytes\n",
         (double)limits.maxMemoryAllocationSize / MIB, (double)buffers.maxBufferSize / MIB,
         (unsigned long long)host.minImportedHostPointerAlignment);
  for (uint32_t i = 0; i < card.memory.memoryTypeCount; i++)
    printf("facts: memory %u: heap %u of %.0f MiB, flags %#x (1 the card's, 2 seen, 4 coherent, 8 "
           "cached)\n",
           i, card.memory.memoryTypes[i].heapIndex,
           (double)card.memory.memoryHeaps[card.memory.memoryTypes[i].heapIndex].size / MIB,
           card.memory.memoryTypes[i].propertyFlags);
  for (uint32_t i = 0; i < card.family_count; i++)
    printf("facts: family %u: %u queues, flags %#x (1 graphics, 2 compute, 4 transfer)\n", i,
           card.properties[i].queueCount, card.properties[i].queueFlags);
}

static bool find_card(void) {
  VkPhysicalDevice all[MOST];
  uint32_t count = MOST;
  if (vk.EnumeratePhysicalDevices(card.instance, &count, all) < VK_SUCCESS || !count)
    return false;
  card.physical = all[0];
  for (uint32_t i = count; i-- > 0;) {
    VkPhysicalDeviceProperties2 facts = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    vk.GetPhysicalDeviceProperties2(all[i], &facts);
    if (facts.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU)
      card.physical = all[i];
  }
  card.family_count = MOST;
  vk.GetPhysicalDeviceMemoryProperties(card.physical, &card.memory);
  vk.GetPhysicalDeviceQueueFamilyProperties(card.physical, &card.family_count, card.properties);
  print_facts(card.physical);
  return true;
}

static void open_family(uint32_t index) {
  struct family *family = &card.families[index];
  VkCommandPool pool;
  const VkCommandPoolCreateInfo how = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                       .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                       .queueFamilyIndex = index};
  vk.GetDeviceQueue(card.device, index, 0, &family->queue);
  must(vk.CreateCommandPool(card.device, &how, NULL, &pool), "a pool");
  const VkCommandBufferAllocateInfo one = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                           .commandPool = pool,
                                           .commandBufferCount = 1};
  must(vk.AllocateCommandBuffers(card.device, &one, &family->commands), "commands");
}

static void open_device(void) {
  static const char *const extensions[] = {VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME,
                                           VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME};
  static const float priority = 1;
  VkDeviceQueueCreateInfo queues[MOST];
  for (uint32_t i = 0; i < card.family_count; i++)
    queues[i] = (VkDeviceQueueCreateInfo){.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                          .queueFamilyIndex = i,
                                          .queueCount = 1,
                                          .pQueuePriorities = &priority};
  VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES,
      .timelineSemaphore = VK_TRUE};
  const VkDeviceCreateInfo how = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                  .pNext = &timeline,
                                  .queueCreateInfoCount = card.family_count,
                                  .pQueueCreateInfos = queues,
                                  .enabledExtensionCount = 2,
                                  .ppEnabledExtensionNames = extensions};
  const VkSemaphoreTypeCreateInfo counts = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                            .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
  const VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                           .pNext = &counts};
  must(vk.CreateDevice(card.physical, &how, NULL, &card.device), "a device");
  must(vk.CreateSemaphore(card.device, &semaphore, NULL, &card.semaphore), "a semaphore");
  for (uint32_t i = 0; i < card.family_count; i++)
    open_family(i);
}

/* ---- memory ---- */

static VkBuffer make_buffer(uint64_t size, VkExternalMemoryHandleTypeFlags shared,
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

static bool make_memory(uint64_t size, uint32_t type, struct memory *out) {
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

static void free_memory(const struct memory *memory) {
  vk.DestroyBuffer(card.device, memory->buffer, NULL);
  vk.FreeMemory(card.device, memory->memory, NULL);
}

/* Of the card's own; the first kind that has `want` otherwise. */
static uint32_t type_with(VkMemoryPropertyFlags want, VkMemoryPropertyFlags avoid) {
  for (uint32_t i = 0; i < card.memory.memoryTypeCount; i++) {
    VkMemoryPropertyFlags flags = card.memory.memoryTypes[i].propertyFlags;
    if ((flags & want) == want && !(flags & avoid))
      return i;
  }
  return avoid ? type_with(want, 0) : 0;
}

/* ---- copies ---- */

/* One submission, waited for. Microseconds. */
static double copy(uint32_t index, VkBuffer from, VkBuffer to, uint64_t size) {
  const struct family *family = &card.families[index];
  const VkBufferCopy what = {.size = size};
  const uint64_t value = ++card.started;
  const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                          .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  const VkTimelineSemaphoreSubmitInfo when = {.sType =
                                                  VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                              .signalSemaphoreValueCount = 1,
                                              .pSignalSemaphoreValues = &value};
  const VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .pNext = &when,
                               .commandBufferCount = 1,
                               .pCommandBuffers = &family->commands,
                               .signalSemaphoreCount = 1,
                               .pSignalSemaphores = &card.semaphore};
  const VkSemaphoreWaitInfo wait = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                    .semaphoreCount = 1,
                                    .pSemaphores = &card.semaphore,
                                    .pValues = &value};
  uint64_t start = clock_now();
  must(vk.BeginCommandBuffer(family->commands, &begin), "begin");
  vk.CmdCopyBuffer(family->commands, from, to, 1, &what);
  must(vk.EndCommandBuffer(family->commands), "end");
  must(vk.QueueSubmit(family->queue, 1, &submit, VK_NULL_HANDLE), "submit");
  must(vk.WaitSemaphores(card.device, &wait, UINT64_MAX), "wait");
  return us(start);
}

/* The fastest of some. */
static double best_copy(uint32_t family, VkBuffer from, VkBuffer to, uint64_t size) {
  double best = copy(family, from, to, size);
  for (int i = 0; i < ROUNDS; i++) {
    double one = copy(family, from, to, size);
    best = one < best ? one : best;
  }
  return best;
}

static uint32_t find_family(void) {
  for (uint32_t i = 0; i < card.family_count; i++)
    if ((card.properties[i].queueFlags & (VK_QUEUE_TRANSFER_BIT | VK_QUEUE_GRAPHICS_BIT |
                                          VK_QUEUE_COMPUTE_BIT)) == VK_QUEUE_TRANSFER_BIT)
      return i;
  return 0;
}

/* ---- questions ---- */

static void ask_memory(const struct memory *target) {
  char *mine = malloc(SIZE);
  memset(mine, 3, SIZE);
  for (uint32_t i = 0; i < card.memory.memoryTypeCount; i++) {
    struct memory memory;
    if (!(card.memory.memoryTypes[i].propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) ||
        !make_memory(SIZE, i, &memory))
      continue;
    memset(memory.bytes, 1, SIZE);
    uint64_t start = clock_now(), look = 4 * MIB; /* uncached memory is read at some 50 MB/s */
    memcpy(memory.bytes, mine, SIZE);
    double in = us(start);
    start = clock_now();
    memcpy(mine, memory.bytes, look);
    double out = us(start);
    printf("memory %u: a core copies in %.1f GB/s, out %.2f GB/s; the card from it %.1f GB/s, to "
           "it %.1f GB/s\n",
           i, rate(SIZE, in), rate(look, out),
           rate(SIZE, best_copy(card.family, memory.buffer, target->buffer, SIZE)),
           rate(SIZE, best_copy(card.family, target->buffer, memory.buffer, SIZE)));
    free_memory(&memory);
  }
  free(mine);
}

static void ask_families(const struct memory *target, const struct memory *staging) {
  for (uint32_t i = 0; i < card.family_count; i++) {
    const VkQueueFlags can = VK_QUEUE_TRANSFER_BIT | VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
    if (!(card.properties[i].queueFlags & can))
      continue;
    printf("family %u: to the card %.1f GB/s, from it %.1f GB/s; a submission of 4 KiB and the "
           "wait %.1f us, of 512 KiB %.1f us, of 2 MiB %.1f us\n",
           i, rate(SIZE, best_copy(i, staging->buffer, target->buffer, SIZE)),
           rate(SIZE, best_copy(i, target->buffer, staging->buffer, SIZE)),
           best_copy(i, staging->buffer, target->buffer, 4 * KIB),
           best_copy(i, staging->buffer, target->buffer, SMALL),
           best_copy(i, staging->buffer, target->buffer, 2 * MIB));
  }
}

/* Says what each step takes; false where the driver refuses. */
static bool lend(const char *what, void *bytes, uint64_t size, const struct memory *target) {
  VkMemoryHostPointerPropertiesEXT can = {.sType =
                                              VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
  VkMemoryRequirements needs;
  VkDeviceMemory memory = VK_NULL_HANDLE;
  VkResult answer = vk.GetMemoryHostPointerPropertiesEXT(card.device, LENT, bytes, &can);
  if (answer)
    return printf("import of %s: no kind of memory (%d)\n", what, (int)answer), false;
  uint64_t start = clock_now();
  VkBuffer buffer = make_buffer(size, LENT, &needs);
  double made = us(start);
  uint32_t types = can.memoryTypeBits & needs.memoryTypeBits;
  const VkImportMemoryHostPointerInfoEXT which = {
      .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
      .handleType = LENT,
      .pHostPointer = bytes};
  const VkMemoryAllocateInfo how = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                    .pNext = &which,
                                    .allocationSize = size,
                                    .memoryTypeIndex = types ? (uint32_t)__builtin_ctz(types) : 0};
  start = clock_now();
  answer = types ? vk.AllocateMemory(card.device, &how, NULL, &memory) : VK_ERROR_UNKNOWN;
  double imported = us(start);
  if (!answer)
    answer = vk.BindBufferMemory(card.device, buffer, memory, 0);
  double copied = answer ? 0 : best_copy(card.family, buffer, target->buffer, size);
  start = clock_now();
  vk.DestroyBuffer(card.device, buffer, NULL);
  vk.FreeMemory(card.device, memory, NULL);
  if (answer)
    printf("import of %s: refused (%d) after %.0f us\n", what, (int)answer, imported);
  else
    printf("import of %s: buffer %.0f us, import %.0f us, free %.0f us; copy from it %.1f GB/s\n",
           what, made, imported, us(start), rate(size, copied));
  return !answer;
}

static void ask_import(const struct memory *target) {
  char *plain = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct share share;
  void *bytes;
  if (plain == MAP_FAILED || os_memfd_create("bench", SIZE, &share))
    return;
  memset(plain, 5, SIZE);
  lend("512 KiB, touched", plain, SMALL, target);
  lend("512 KiB again", plain, SMALL, target);
  lend("8 MiB, touched", plain, 8 * MIB, target);
  lend("64 MiB, touched", plain, SIZE, target);
  lend("64 MiB again", plain, SIZE, target);
  munmap(plain, SIZE);
  if (os_memfd_map(&share, SIZE, true, &bytes))
    return;
  lend("64 MiB of a memfd, untouched", bytes, SIZE, target);
  memset(bytes, 6, SIZE);
  lend("64 MiB of a memfd, touched", bytes, SIZE, target);
  os_memfd_unmap(bytes, SIZE);
  if (os_memfd_seal(&share, OS_MEMFD_SEAL_SIZE | OS_MEMFD_SEAL_WRITE) ||
      os_memfd_map(&share, SIZE, false, &bytes))
    return;
  lend("64 MiB of a sealed memfd, mapped to be read", bytes, SIZE, target);
  os_memfd_unmap(bytes, SIZE);
  share_close(&share);
}

/* A segment as the owner makes it and the mover takes it. */
static void ask_segment(uint64_t size) {
  VkMemoryRequirements needs;
  VkDeviceMemory made = VK_NULL_HANDLE, taken = VK_NULL_HANDLE;
  int fd = -1;
  uint64_t start = clock_now();
  VkBuffer buffer = make_buffer(size, OPAQUE, &needs);
  double buffered = us(start);
  const VkExportMemoryAllocateInfo shared = {.sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO,
                                             .handleTypes = OPAQUE};
  VkMemoryAllocateInfo how = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                              .pNext = &shared,
                              .allocationSize = needs.size,
                              .memoryTypeIndex = type_with(VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                                                           VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT)};
  start = clock_now();
  VkResult answer = vk.AllocateMemory(card.device, &how, NULL, &made);
  double allocated = us(start);
  const VkMemoryGetFdInfoKHR which = {
      .sType = VK_STRUCTURE_TYPE_MEMORY_GET_FD_INFO_KHR, .memory = made, .handleType = OPAQUE};
  start = clock_now();
  if (!answer)
    answer = vk.GetMemoryFdKHR(card.device, &which, &fd);
  double exported = us(start);
  const VkImportMemoryFdInfoKHR import = {
      .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR, .handleType = OPAQUE, .fd = fd};
  how.pNext = &import;
  start = clock_now();
  if (!answer)
    answer = vk.AllocateMemory(card.device, &how, NULL, &taken);
  if (!answer)
    answer = vk.BindBufferMemory(card.device, buffer, taken, 0);
  printf("segment of %.0f MiB: buffer %.0f us, made %.0f us, exported %.0f us, imported %.0f us, "
         "answer %d\n",
         (double)size / MIB, buffered, allocated, exported, us(start), (int)answer);
  vk.DestroyBuffer(card.device, buffer, NULL);
  vk.FreeMemory(card.device, taken, NULL);
  vk.FreeMemory(card.device, made, NULL);
}

int main(void) {
  struct memory target, other, staging;
  setvbuf(stdout, NULL, _IOLBF, 0); /* what was answered is kept if a later question is fatal */
  if (!open_instance() || !find_card())
    return fputs("bench_vulkan_calls: no card\n", stderr), 1;
  open_device();
  card.family = find_family();
  uint32_t own =
      type_with(VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
  uint32_t seen =
      type_with(VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT |
                    VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
                VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
  if (!make_memory(SIZE, own, &target) || !make_memory(SIZE, own, &other) ||
      !make_memory(SIZE, seen, &staging))
    return fputs("bench_vulkan_calls: no memory\n", stderr), 1;
  memset(staging.bytes, 4, SIZE);
  printf("inside the card: %.0f GB/s by family %u, %.0f GB/s by family 0\n",
         rate(SIZE, best_copy(card.family, target.buffer, other.buffer, SIZE)), card.family,
         rate(SIZE, best_copy(0, target.buffer, other.buffer, SIZE)));
  ask_memory(&target);
  ask_families(&target, &staging);
  ask_import(&target);
  ask_segment(64 * MIB);
  ask_segment(GIB);
  if (card.memory.memoryHeaps[card.memory.memoryTypes[own].heapIndex].size > 32 * GIB)
    ask_segment(8 * GIB); /* beyond what some drivers say is the most */
  return 0;
}
