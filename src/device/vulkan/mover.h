/*
 * vulkan/mover: the mover half of Vulkan's cards; each entry as backend.h says. The driver is not
 * touched before the first segment is imported.
 */
#ifndef DEVICE_VULKAN_MOVER_H
#define DEVICE_VULKAN_MOVER_H

#include "device/backend.h"

enum status vulkan_mover_start(const struct spec *spec, void **out);
void vulkan_mover_stop(void *arg);
enum status vulkan_mover_import(void *arg, const struct share *share, uint64_t size, void **out);
void vulkan_mover_drop(void *arg, void *memory, uint64_t size);
void *vulkan_mover_stage(void *arg, uint64_t size);
bool vulkan_mover_unstage(void *arg, void *bytes);
enum status vulkan_mover_read(void *arg, const struct device_range *from, void *to);
enum status vulkan_mover_write(void *arg, const struct device_range *to, const void *from);
enum status vulkan_mover_feed(void *arg, const struct device_range *to,
                              const struct device_flow *flow);
enum status vulkan_mover_drain(void *arg, const struct device_range *from,
                               const struct device_flow *flow);
const void *vulkan_mover_peek(void *arg, const struct device_range *range);
void *vulkan_mover_poke(void *arg, const struct device_range *range);
enum status vulkan_mover_copy(void *arg, const struct device_range *from,
                              const struct device_range *to);
bool vulkan_mover_sends(const void *from, void *to);
enum status vulkan_mover_copy_all(void *arg, struct device_pair *pairs, uint32_t count);
enum status vulkan_mover_fill(void *arg, const struct device_range *range, uint8_t value);

#endif
