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

#include "base/os_memfd.h"
#include "vulkan_raw.h"

#define SIZE (64 * MIB)
#define SMALL (512 * KIB) /* what the worker has under way at a time */

/* ---- questions ---- */

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

/* Memory of the card's own. */
struct asked {
  const char *how;
  uint64_t size;
  bool shared;    /* it is exported, and imported again */
  bool dedicated; /* to one buffer: some drivers lay that out otherwise */
};

/* What is chained to an allocation. */
struct chain {
  VkMemoryDedicatedAllocateInfo dedicated;
  VkExportMemoryAllocateInfo shared;
  VkImportMemoryFdInfoKHR import;
};

static VkMemoryAllocateInfo how_to(const struct asked *asked, VkBuffer buffer, uint64_t size,
                                   struct chain *chain) {
  *chain = (struct chain){
      .dedicated = {.sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO, .buffer = buffer},
      .shared = {.sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO, .handleTypes = OPAQUE},
      .import = {.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR, .handleType = OPAQUE}};
  const void *first = asked->dedicated ? &chain->dedicated : NULL;
  chain->shared.pNext = chain->import.pNext = first;
  return (VkMemoryAllocateInfo){.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                .pNext = asked->shared ? &chain->shared : first,
                                .allocationSize = size,
                                .memoryTypeIndex = type_with(VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                                                             VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT)};
}

/* Says what it took; the memory is the caller's. */
static VkDeviceMemory share_again(const struct asked *asked, VkDeviceMemory made) {
  VkMemoryRequirements needs;
  VkDeviceMemory taken = VK_NULL_HANDLE;
  struct chain chain;
  const VkMemoryGetFdInfoKHR which = {
      .sType = VK_STRUCTURE_TYPE_MEMORY_GET_FD_INFO_KHR, .memory = made, .handleType = OPAQUE};
  VkBuffer buffer = make_buffer(asked->size, OPAQUE, &needs);
  VkMemoryAllocateInfo how = how_to(asked, buffer, needs.size, &chain);
  how.pNext = &chain.import;
  uint64_t start = clock_now();
  VkResult answer = vk.GetMemoryFdKHR(card.device, &which, &chain.import.fd);
  double exported = us(start);
  start = clock_now();
  if (!answer)
    answer = vk.AllocateMemory(card.device, &how, NULL, &taken);
  if (!answer)
    answer = vk.BindBufferMemory(card.device, buffer, taken, 0);
  printf(", exported %.0f us, imported %.0f us (answer %d)", exported, us(start), (int)answer);
  vk.DestroyBuffer(card.device, buffer, NULL);
  return taken;
}

/* A segment as the owner makes it and the mover takes it, and other ways to make one. */
static void ask_segment(const struct asked *asked) {
  VkMemoryRequirements needs;
  VkDeviceMemory made = VK_NULL_HANDLE, taken = VK_NULL_HANDLE;
  struct chain chain;
  uint64_t start = clock_now();
  VkBuffer buffer = make_buffer(asked->size, asked->shared ? OPAQUE : 0, &needs);
  double buffered = us(start);
  const VkMemoryAllocateInfo how = how_to(asked, buffer, needs.size, &chain);
  start = clock_now();
  VkResult answer = vk.AllocateMemory(card.device, &how, NULL, &made);
  printf("segment of %.0f MiB%s: buffer %.0f us, made %.0f us (answer %d)",
         (double)asked->size / MIB, asked->how, buffered, us(start), (int)answer);
  if (!answer && asked->shared)
    taken = share_again(asked, made);
  vk.DestroyBuffer(card.device, buffer, NULL);
  start = clock_now();
  vk.FreeMemory(card.device, made, NULL); /* the second handle keeps what was shared */
  printf(", the handle freed %.0f us", us(start));
  start = clock_now();
  vk.FreeMemory(card.device, taken, NULL);
  printf(", the last one %.0f us\n", us(start));
}

static void ask_segments(bool large) {
  static const struct asked all[] = {
      {"", 64 * MIB, true, false},
      {"", GIB, true, false}, /* thrice: the others right after one was given back */
      {"", GIB, true, false},
      {"", GIB, true, false},
      {", dedicated", GIB, true, true},
      {", dedicated", GIB, true, true},
      {", not shared", GIB, false, false},
      {", not shared, dedicated", GIB, false, true},
      {"", 8 * GIB, true, false}}; /* beyond what some drivers say is the most */
  for (size_t i = 0; i < sizeof all / sizeof *all - !large; i++)
    ask_segment(&all[i]);
}

int main(void) {
  struct memory target, other, staging;
  setvbuf(stdout, NULL, _IOLBF, 0); /* what was answered is kept if a later question is fatal */
  if (!open_instance() || !find_card())
    return fputs("bench_vulkan_calls: no card\n", stderr), 1;
  print_facts(card.physical);
  open_device();
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
  ask_segments(card.memory.memoryHeaps[card.memory.memoryTypes[own].heapIndex].size > 32 * GIB);
  ask_import(
      &target); /* last: a driver may refuse all memory after one lent range that it refused */
  return 0;
}
