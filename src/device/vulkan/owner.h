/*
 * vulkan/owner: the owner half of Vulkan's cards; each entry as backend.h says.
 */
#ifndef DEVICE_VULKAN_OWNER_H
#define DEVICE_VULKAN_OWNER_H

#include "device/backend.h"

enum status vulkan_owner_open(const struct spec *spec, void **out);
void vulkan_owner_close(void *arg);
enum status vulkan_owner_describe(void *arg, struct device_info *info);
enum status vulkan_owner_budget(void *arg, struct device_budget *budget);
uint32_t vulkan_owner_processes(void *arg, struct device_process *out, uint32_t max);
enum status vulkan_owner_create(void *arg, uint64_t size, struct share *out);
void vulkan_owner_release(void *arg, struct share *share, uint64_t size, bool exported);

#endif
