/*
 * vulkan/load: the loader gives the functions of an instance, an instance those of a card; both by
 * the names in the tables of the headers.
 */
#include "device/vulkan/load.h"

#include <dlfcn.h>
#include <string.h>

#include "base/log.h"

#define LOAD_LIBRARY "libvulkan.so.1"

/* Stays in memory also when it is closed, with the drivers that it found: they may have threads. */
static PFN_vkGetInstanceProcAddr open_library(struct vulkan_load *load) {
  PFN_vkGetInstanceProcAddr find = NULL;
  load->library = dlopen(LOAD_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  void *function = load->library ? dlsym(load->library, "vkGetInstanceProcAddr") : NULL;
  memcpy(&find, &function, sizeof find);
  return find;
}

static bool make_instance(PFN_vkGetInstanceProcAddr find, struct vulkan_load *load) {
  const VkApplicationInfo us = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                .pApplicationName = "memkeep",
                                .apiVersion = VK_API_VERSION_1_2};
  const VkInstanceCreateInfo how = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                    .pApplicationInfo = &us};
  PFN_vkCreateInstance create = (PFN_vkCreateInstance)find(NULL, "vkCreateInstance");
  return create && find(NULL, "vkEnumerateInstanceVersion") && !create(&how, NULL, &load->instance);
}

static bool find_all(PFN_vkGetInstanceProcAddr find, struct vulkan_load *load) {
  bool found = true;
#define X(member, name)                                                                            \
  load->member = (PFN_vk##name)find(load->instance, "vk" #name);                                   \
  found = found && load->member;
  VULKAN_OF_INSTANCE(X)
#undef X
  return found;
}

enum status vulkan_load_open(struct vulkan_load *out) {
  struct vulkan_load load = {.library = NULL};
  PFN_vkGetInstanceProcAddr find = open_library(&load);
  if (find && make_instance(find, &load) && find_all(find, &load)) {
    *out = load;
    return STATUS_OK;
  }
  vulkan_load_close(&load);
  *out = load;
  return STATUS_DEVICE_NOT_FOUND;
}

void vulkan_load_close(struct vulkan_load *load) {
  if (load->instance && load->destroy_instance)
    load->destroy_instance(load->instance, NULL);
  if (load->library)
    dlclose(load->library);
  *load = (struct vulkan_load){.library = NULL};
}

/* ---- answers ---- */

static const struct {
  VkResult answer;
  enum status status;
} meanings[] = {
    {VK_ERROR_OUT_OF_DEVICE_MEMORY, STATUS_INSUFFICIENT_MEMORY},
    {VK_ERROR_OUT_OF_HOST_MEMORY, STATUS_INSUFFICIENT_MEMORY},
    {VK_ERROR_OUT_OF_POOL_MEMORY, STATUS_INSUFFICIENT_MEMORY},
    {VK_ERROR_TOO_MANY_OBJECTS, STATUS_INSUFFICIENT_MEMORY},
    {VK_ERROR_DEVICE_LOST, STATUS_DEVICE_UNAVAILABLE},
    {VK_ERROR_INITIALIZATION_FAILED, STATUS_DEVICE_UNAVAILABLE},
    {VK_ERROR_UNKNOWN, STATUS_DEVICE_UNAVAILABLE},
    {VK_ERROR_EXTENSION_NOT_PRESENT, STATUS_DEVICE_NOT_FOUND},
    {VK_ERROR_FEATURE_NOT_PRESENT, STATUS_DEVICE_NOT_FOUND},
    {VK_ERROR_INCOMPATIBLE_DRIVER, STATUS_DEVICE_NOT_FOUND},
};

enum status vulkan_load_check(const char *what, VkResult answer) {
  if (answer >= VK_SUCCESS)
    return STATUS_OK;
  enum status status = STATUS_INTERNAL_ERROR;
  for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
    if (meanings[i].answer == answer)
      status = meanings[i].status;
  log_write(status == STATUS_INSUFFICIENT_MEMORY ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, "device",
            "the Vulkan driver could not %s (%d)", what, (int)answer);
  return status;
}
