/*
 * vulkan/owner: memory is allocated and exported; its handle is freed with our descriptor, at the
 * latest before anything else is made. Then the descriptors of others alone keep it: the vault's,
 * or whose ever. To free the handle takes a driver as long as to make the memory (an H100 13 ms a
 * GiB), and nobody waits for it: the broker has answered by then (worker/own.c).
 *
 * A Vulkan driver tells what one process may still have. The kernel's driver, where it is one that
 * tells (os_drm, os_drm_query), knows the card: how much there is, how much everybody uses, and
 * who. It is asked for the card at the same address.
 */
#include "device/vulkan/owner.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os_drm_query.h"
#include "base/os_drm_users.h"
#include "base/units.h"
#include "device/vulkan/memory.h"

#define OWNER_USERS 512
#define OWNER_GRANULARITY (64 * KIB) /* the largest page that a driver's small ones come in */

struct owner {
  struct vulkan_card *card;
  uint64_t size_bytes; /* what the user set; 0: nothing */
  struct os_drm_root root;
  char pci[OS_DRM_PCI];         /* "": not told */
  bool unified;                 /* the card's memory and the host's are one */
  _Atomic(VkDeviceMemory) made; /* last, and not yet freed */
};

/* Vulkan lets nothing be freed: NULL. */
static void let_go(struct owner *owner) {
  VkDeviceMemory made = atomic_exchange(&owner->made, (VkDeviceMemory)VK_NULL_HANDLE);
  owner->card->free_memory(owner->card->device, made, NULL);
}

enum status vulkan_owner_open(const struct spec *spec, void **out) {
  struct owner *owner = calloc(1, sizeof *owner);
  if (!owner)
    return STATUS_INTERNAL_ERROR;
  owner->size_bytes = spec->size_bytes;
  os_drm_root(&owner->root);
  enum status status = vulkan_card_open(spec, false, &owner->card);
  if (status) {
    free(owner);
    return status;
  }
  struct device_info info = {.pci = ""};
  vulkan_card_describe(owner->card, &info);
  memcpy(owner->pci, info.pci, sizeof owner->pci);
  owner->unified = info.memory == DEVICE_UNIFIED;
  *out = owner;
  return STATUS_OK;
}

void vulkan_owner_close(void *arg) {
  struct owner *owner = arg;
  let_go(owner);
  vulkan_card_close(owner->card);
  free(owner);
}

/* ---- figures ---- */

/* How much there is, and what is in use if that is known too; false: neither. A size of which only
 * a file tells may count what nobody can have. */
static bool ask_kernel(const struct owner *owner, struct os_drm_bytes *out) {
  struct os_drm_card card;
  if (os_drm_card(&owner->root, owner->pci, &card))
    return false;
  bool asked = os_drm_query(&owner->root, &card);
  *out = os_drm_sum(&card, owner->unified);
  return out->total_bytes != OS_DRM_UNKNOWN && (asked || out->used_bytes != OS_DRM_UNKNOWN);
}

enum status vulkan_owner_describe(void *arg, struct device_info *info) {
  const struct owner *owner = arg;
  vulkan_card_describe(owner->card, info);
  struct os_drm_bytes known;
  info->limit_bytes = info->total_bytes; /* of the heap that segments lie in */
  if (ask_kernel(owner, &known)) {
    info->total_bytes = known.total_bytes;
    info->limit_bytes = units_min(info->limit_bytes, info->total_bytes);
  }
  if (owner->size_bytes)
    info->limit_bytes = units_min(info->limit_bytes, owner->size_bytes);
  info->granularity = units_max(owner->card->alignment, OWNER_GRANULARITY);
  info->costly = true;
  return STATUS_OK;
}

/* The driver's budget may be tighter than the card is. */
enum status vulkan_owner_budget(void *arg, struct device_budget *budget) {
  const struct owner *owner = arg;
  struct os_drm_bytes known;
  vulkan_card_budget(owner->card, budget);
  if (!ask_kernel(owner, &known) || known.used_bytes == OS_DRM_UNKNOWN)
    return STATUS_OK;
  bool silent = budget->used_bytes == DEVICE_BYTES_UNKNOWN;
  budget->used_bytes = silent ? known.used_bytes : units_max(budget->used_bytes, known.used_bytes);
  budget->free_bytes = units_min(budget->free_bytes, known.total_bytes - known.used_bytes);
  return STATUS_OK;
}

/* ---- who ---- */

/* Of one heap or of two; not known where neither is. */
static uint64_t held(const struct owner *owner, const struct os_drm_user *user) {
  uint64_t own = user->bytes[OS_DRM_CARD], host = user->bytes[OS_DRM_HOST], sum;
  if (!owner->unified || host == OS_DRM_UNKNOWN)
    return own;
  if (own == OS_DRM_UNKNOWN)
    return host;
  return units_add(own, host, &sum) ? sum : OS_DRM_UNKNOWN;
}

/* What is not known goes last. */
static int by_size(const void *a, const void *b) {
  uint64_t x = ((const struct device_process *)a)->used_bytes + 1;
  uint64_t y = ((const struct device_process *)b)->used_bytes + 1;
  return x < y ? 1 : x > y ? -1 : 0;
}

uint32_t vulkan_owner_processes(void *arg, struct device_process *out, uint32_t max) {
  const struct owner *owner = arg;
  struct os_drm_user *users = calloc(OWNER_USERS, sizeof *users);
  struct device_process *rows = calloc(OWNER_USERS, sizeof *rows);
  uint32_t count = 0;
  if (users && rows && owner->pci[0])
    count = os_drm_users(&owner->root, owner->pci, users, OWNER_USERS);
  for (uint32_t i = 0; i < count; i++) {
    rows[i] = (struct device_process){.pid = users[i].pid, .used_bytes = held(owner, &users[i])};
    snprintf(rows[i].name, sizeof rows[i].name, "%.31s", users[i].name);
  }
  if (count)
    qsort(rows, count, sizeof *rows, by_size);
  count = (uint32_t)units_min(count, max);
  if (count)
    memcpy(out, rows, count * sizeof *out);
  free(rows);
  free(users);
  return count;
}

/* ---- memory ---- */

/* A copy above stdin, stdout and stderr, which no child inherits. */
static enum status export_memory(const struct vulkan_card *card, VkDeviceMemory memory,
                                 struct share *out) {
  int fd;
  enum status status =
      vulkan_memory_export(card, memory, VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT, &fd);
  if (status)
    return status;
  struct share made = {SHARE_VULKAN_OPAQUE, fd};
  status = share_copy(&made, out);
  share_close(&made);
  return status;
}

/* Many drivers make more at once than they promise, so that all are asked; of one that refuses, no
 * waiting and no eviction gets it. */
static enum status explain(const struct vulkan_card *card, uint64_t size, enum status status) {
  if (status != STATUS_INSUFFICIENT_MEMORY || size <= card->most)
    return status;
  log_warning("device",
              "the Vulkan driver makes %" PRIu64 " MiB of memory at once, and not the %" PRIu64
              " that were wanted",
              card->most / MIB, size / MIB);
  return STATUS_ALLOCATION_TOO_LARGE;
}

enum status vulkan_owner_create(void *arg, uint64_t size, struct share *out) {
  struct owner *owner = arg;
  const struct vulkan_card *card = owner->card;
  VkDeviceMemory memory;
  let_go(owner);
  enum status status = explain(card, size, vulkan_memory_make(card, size, &memory));
  if (status)
    return status;
  status = export_memory(card, memory, out);
  atomic_store(&owner->made, memory);
  if (status)
    let_go(owner);
  return status;
}

void vulkan_owner_release(void *arg, struct share *share, uint64_t size, bool exported) {
  (void)size;
  (void)exported;
  let_go(arg);
  share_close(share);
}
