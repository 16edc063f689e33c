/*
 * vk_pretend: a layer of Vulkan's that makes a software driver look like a card, so that tests walk
 * the ways that cards need. FAKE: none of what it says is of a real one.
 *
 *   Memory      heap 0 is the card's, and no core can map it; heap 1 is the host's. Kinds of
 * memory: 0 the card's, 1 coherent, 2 coherent and cached. Budget      VK_EXT_memory_budget is
 * offered. What is used is the truth about heap 0, whoever holds it: what was exported is used for
 * as long as any process has its descriptor open. What goes beyond the budget fails with
 * OUT_OF_DEVICE_MEMORY. Identity    a discrete card; each has a UUID of its own, also if it is the
 * same driver twice.
 *
 * VK_PRETEND_PCI=ADDRESS,ADDRESS: where the cards are, told by VK_EXT_pci_bus_info; without it that
 * extension is not offered. VK_PRETEND_INTEGRATED=1: they are graphics of the processor's.
 * VK_PRETEND_SEEN=1: a core sees the card's memory, cached, unless there is a file `far` (below):
 * then it is said to be seen, and cannot be mapped.
 * VK_PRETEND_FAMILIES=1: they have two families of queues, of which the second can but copy.
 * VK_PRETEND_UUIDS=N,N: the last byte of each card's UUID, by which they are numbered (1, 2).
 * VK_PRETEND_TWIN=1: their UUIDs are those of the FAKE cards of tests/fake_libcuda.h.
 * VK_PRETEND_DMABUF=yes: they pass FAKE dma-bufs on to each other; refuses: none is imported; lies:
 * who imports one has other bytes.
 * VK_PRETEND_TROUBLE=hang or crash: what who asks for the cards gets.
 * VK_PRETEND_MIB: the size of heap 0 (1024). VK_PRETEND_MOST: how many MiB of it can be had at once
 * (all). VK_PRETEND_FAIL=N: each N-th allocation of a card's
 * memory fails. VK_PRETEND_LACKS=NAME: an extension that is not offered. VK_PRETEND_DIR: a folder
 * of the test's own, in which `budget` may hold heap 0's budget in MiB, read at every query, where
 * a file `lost` means that the card fell off, after so many submissions as it says, `full` that the
 * host's heap has no more, `slow` that memory is freed when it is gone, `torn` that the next
 * command of several copies leaves out its last (then it is gone), and where the layer writes to
 * `trace`, if it is there, a letter for each submission (s; t: to the family that can but copy) and
 * for each call that waits for one (w), and notes in `memory` what was exported; without it what
 * was exported and freed is not counted.
 */
#ifndef TESTS_VK_PRETEND_H
#define TESTS_VK_PRETEND_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <vulkan/vk_layer.h>
#include <vulkan/vulkan_core.h>

#define MIB (UINT64_C(1) << 20)

/* The environment's number of that name. */
uint64_t pretend_setting(const char *name, uint64_t otherwise);
/* A file of VK_PRETEND_DIR; NULL: there is none. */
FILE *pretend_open(const char *name, const char *mode);
VkPhysicalDeviceType pretend_type(void);
bool pretend_seen(void);
/* Changes what the driver says. */
void pretend_uuid(uint32_t card, uint8_t uuid[VK_UUID_SIZE]);
void pretend_trouble(void);
/* Where a card is; zeros where VK_PRETEND_PCI does not name it. */
void pretend_address(uint32_t card, VkPhysicalDevicePCIBusInfoPropertiesEXT *out);
bool pretend_has(const char *name);
void pretend_wait_while(const char *name);
/* True: it was there, and is no more. */
bool pretend_remove(const char *name);
/* The loader's note of who is below us; what is below shall find the next one there. NULL: none. */
VkLayerInstanceCreateInfo *pretend_instance_link(const VkInstanceCreateInfo *how);
VkLayerDeviceCreateInfo *pretend_device_link(const VkDeviceCreateInfo *how);
/* Of heap 0; the most of it at once. */
uint64_t pretend_size(void);
uint64_t pretend_budget(void);
uint64_t pretend_most(void);
/* That such a file is memory of that card, and how much of it is still held by any process. */
void pretend_note(uint64_t inode, uint64_t size, uint32_t card);
uint64_t pretend_exported(uint32_t card);

#endif
