/*
 * vk_pretend_link: how the loader tells a layer who is below it.
 */
#include "vk_pretend.h"

VkLayerInstanceCreateInfo *pretend_instance_link(const VkInstanceCreateInfo *how) {
  VkLayerInstanceCreateInfo *link = (VkLayerInstanceCreateInfo *)(uintptr_t)how->pNext;
  while (link && (link->sType != VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO ||
                  link->function != VK_LAYER_LINK_INFO))
    link = (VkLayerInstanceCreateInfo *)(uintptr_t)link->pNext;
  return link;
}

VkLayerDeviceCreateInfo *pretend_device_link(const VkDeviceCreateInfo *how) {
  VkLayerDeviceCreateInfo *link = (VkLayerDeviceCreateInfo *)(uintptr_t)how->pNext;
  while (link && (link->sType != VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO ||
                  link->function != VK_LAYER_LINK_INFO))
    link = (VkLayerDeviceCreateInfo *)(uintptr_t)link->pNext;
  return link;
}
