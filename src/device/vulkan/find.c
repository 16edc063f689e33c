/*
 * vulkan/find: all cards in one order, whatever order the loader has today: real ones first, each
 * kind by UUID.
 */
#include "device/vulkan/find.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FIND_MOST 64 /* cards of a machine */
#define FIND_EXTENSIONS 512
#define FIND_REAL 2 /* the last rank that is a card */

/* ---- what a card says ---- */

static const struct {
  const char *name;
  bool needed;
} wanted[VULKAN_FIND_EXTENSIONS] = {
    [VULKAN_FIND_SHARE] = {VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME, true},
    [VULKAN_FIND_HOST] = {VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME, false},
    [VULKAN_FIND_DMABUF] = {VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME, false},
    [VULKAN_FIND_BUDGET] = {VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, false},
    [VULKAN_FIND_PCI] = {VK_EXT_PCI_BUS_INFO_EXTENSION_NAME, false},
};

const char *vulkan_find_extension(enum vulkan_find_extension extension) {
  return wanted[extension].name;
}

static bool is_listed(const VkExtensionProperties *all, uint32_t count, const char *name) {
  for (uint32_t i = 0; i < count; i++)
    if (!strcmp(all[i].extensionName, name))
      return true;
  return false;
}

enum status vulkan_find_extensions(const struct vulkan_load *load, VkPhysicalDevice physical,
                                   bool has[VULKAN_FIND_EXTENSIONS]) {
  uint32_t count = FIND_EXTENSIONS;
  VkExtensionProperties *all = calloc(count, sizeof *all);
  enum status status = all ? STATUS_OK : STATUS_INTERNAL_ERROR;
  if (!status)
    status = vulkan_load_check("list what a card can",
                               load->list_extensions(physical, NULL, &count, all));
  for (int i = 0; !status && i < VULKAN_FIND_EXTENSIONS; i++) {
    has[i] = is_listed(all, count, wanted[i].name);
    if (wanted[i].needed && !has[i])
      status = STATUS_DEVICE_NOT_FOUND;
  }
  free(all);
  return status;
}

void vulkan_find_facts(const struct vulkan_load *load, VkPhysicalDevice physical,
                       const bool has[VULKAN_FIND_EXTENSIONS], struct vulkan_find_facts *out) {
  *out = (struct vulkan_find_facts){
      .physical = physical,
      .properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &out->id},
      .id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES, .pNext = &out->driver},
      .driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES},
      .pci = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT},
      .host = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT}};
  if (has[VULKAN_FIND_PCI]) {
    out->pci.pNext = out->driver.pNext;
    out->driver.pNext = &out->pci;
  }
  if (has[VULKAN_FIND_HOST]) {
    out->host.pNext = out->driver.pNext;
    out->driver.pNext = &out->host;
  }
  load->properties(physical, &out->properties);
}

void vulkan_find_uuid(const uint8_t bytes[VK_UUID_SIZE], char out[VULKAN_FIND_UUID]) {
  size_t n = 0;
  for (size_t i = 0; i < VK_UUID_SIZE; i++)
    n += (size_t)snprintf(out + n, VULKAN_FIND_UUID - n, "%s%02x",
                          i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
}

void vulkan_find_pci(const struct vulkan_find_facts *facts, char *out, size_t size) {
  snprintf(out, size, "%04x:%02x:%02x.%x", facts->pci.pciDomain, facts->pci.pciBus,
           facts->pci.pciDevice, facts->pci.pciFunction);
}

/* ---- all of them ---- */

/* Real ones first. */
static int rank(const struct vulkan_find_facts *facts) {
  static const int ranks[] = {[VK_PHYSICAL_DEVICE_TYPE_OTHER] = 3,
                              [VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU] = 1,
                              [VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU] = 0,
                              [VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU] = FIND_REAL,
                              [VK_PHYSICAL_DEVICE_TYPE_CPU] = 4};
  VkPhysicalDeviceType type = facts->properties.properties.deviceType;
  return (size_t)type < sizeof ranks / sizeof *ranks ? ranks[type] : 3;
}

static int compare(const void *a, const void *b) {
  const struct vulkan_find_facts *x = a, *y = b;
  int order = rank(x) - rank(y);
  if (!order)
    order = memcmp(x->id.deviceUUID, y->id.deviceUUID, VK_UUID_SIZE);
  return order ? order : memcmp(x->id.driverUUID, y->id.driverUUID, VK_UUID_SIZE);
}

/* In order, malloced; NULL: no memory. */
static struct vulkan_find_facts *list(const struct vulkan_load *load, uint32_t *count) {
  static const bool plain[VULKAN_FIND_EXTENSIONS];
  VkPhysicalDevice all[FIND_MOST];
  struct vulkan_find_facts *facts = calloc(FIND_MOST, sizeof *facts);
  uint32_t found = FIND_MOST;
  *count = 0;
  VkResult answer = load->list_cards(load->instance, &found, all);
  if (!facts || answer < VK_SUCCESS) /* drivers without a card say so in more than one way */
    return facts;
  for (uint32_t i = 0; i < found; i++) {
    vulkan_find_facts(load, all[i], plain, &facts[*count]);
    *count += facts[*count].properties.properties.apiVersion >= VK_API_VERSION_1_2;
  }
  qsort(facts, *count, sizeof *facts, compare);
  return facts;
}

/* ---- one of them ---- */

static bool is_named(const struct vulkan_find_facts *facts, const char *wish) {
  char device[VULKAN_FIND_UUID], driver[VULKAN_FIND_UUID];
  size_t n = strcspn(wish, "/");
  vulkan_find_uuid(facts->id.deviceUUID, device);
  vulkan_find_uuid(facts->id.driverUUID, driver);
  return strlen(device) == n && !strncasecmp(wish, device, n) &&
         (!wish[n] || !strcasecmp(wish + n + 1, driver));
}

static VkPhysicalDevice choose(const struct spec *spec, const struct vulkan_find_facts *facts,
                               uint32_t count) {
  unsigned long number = strtoul(strchr(spec->id, ':') + 1, NULL, 10);
  if (!spec->uuid[0])
    return number < count ? facts[number].physical : NULL;
  for (uint32_t i = 0; i < count; i++)
    if (is_named(&facts[i], spec->uuid))
      return facts[i].physical;
  return NULL;
}

enum status vulkan_find_physical(const struct vulkan_load *load, const struct spec *spec,
                                 VkPhysicalDevice *out) {
  uint32_t count;
  struct vulkan_find_facts *facts = list(load, &count);
  if (!facts)
    return STATUS_INTERNAL_ERROR;
  VkPhysicalDevice found = choose(spec, facts, count);
  free(facts);
  if (!found)
    return STATUS_DEVICE_NOT_FOUND;
  *out = found;
  return STATUS_OK;
}

/* ---- those that are taken unasked ---- */

/* Whether it is one; the number is the one by which it is named. */
static bool describe(const struct vulkan_load *load, const struct vulkan_find_facts *listed,
                     uint32_t number, struct spec *out) {
  struct vulkan_find_facts facts;
  bool has[VULKAN_FIND_EXTENSIONS];
  char device[VULKAN_FIND_UUID], driver[VULKAN_FIND_UUID];
  if (rank(listed) > FIND_REAL || vulkan_find_extensions(load, listed->physical, has))
    return false;
  vulkan_find_facts(load, listed->physical, has, &facts);
  *out = (struct spec){.backend = "vulkan"};
  snprintf(out->id, sizeof out->id, "vulkan:%u", number);
  vulkan_find_uuid(facts.id.deviceUUID, device);
  vulkan_find_uuid(facts.id.driverUUID, driver);
  spec_bind(out, device, driver);
  if (has[VULKAN_FIND_PCI])
    vulkan_find_pci(&facts, out->pci, sizeof out->pci);
  return true;
}

unsigned vulkan_find(struct spec *out, unsigned max) {
  struct vulkan_load load;
  uint32_t there;
  unsigned count = 0;
  if (vulkan_load_open(&load))
    return 0;
  struct vulkan_find_facts *facts = list(&load, &there);
  for (uint32_t i = 0; facts && i < there && count < max; i++)
    count += describe(&load, &facts[i], i, &out[count]);
  free(facts);
  vulkan_load_close(&load);
  return count;
}
