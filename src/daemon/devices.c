/*
 * devices: NVIDIA's driver is asked here, all others by the finder beside it, in a process of their
 * own. They are not bothered where the kernel has no card, nor for NVIDIA's cards where CUDA has
 * them.
 *
 * A card under two APIs is found twice. Which is the same is known when one is open: the service
 * leaves the second out (inventory.h).
 */
#include "daemon/devices.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "device/probe.h"

/* Vendors whose drivers of the kernel say enough of a card to say: nobody serves this one. */
static const struct vendor {
  uint16_t vendor;
  const char *name, *why;
} vendors[] = {{0x1002, "AMD", "no Vulkan driver offers its memory"},
               {0x8086, "Intel", "no Vulkan driver offers its memory"},
               {OS_DRM_NVIDIA, "NVIDIA", "neither CUDA nor a Vulkan driver offers its memory"}};

/* ---- looking ---- */

static uint32_t count_others(const struct devices *devices) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < devices->card_count; i++)
    count += devices->cards[i].vendor != OS_DRM_NVIDIA;
  return count;
}

void devices_look(struct devices *devices, const struct config *config, const char *worker) {
  struct os_drm_root root;
  *devices = (struct devices){.worker = worker};
  os_drm_root(&root);
  if (!config->no_gpu && !config->no_vulkan)
    devices->card_count = os_drm_cards(&root, devices->cards, DEVICES_CARDS);
  bool others = count_others(devices);
  if (others)
    finder_start(&devices->finder, worker);
  devices->found_count = probe_defaults(!config->no_gpu, devices->found, VIEW_DEVICES);
  if (!others && devices->card_count && devices->found_count == 1)
    finder_start(&devices->finder, worker);
}

/* ---- choosing ---- */

/* By its number, or as the card that it is. */
static struct spec *find_named(struct devices *devices, const struct spec *found) {
  for (unsigned i = 0; i < devices->count; i++) {
    struct spec *named = &devices->all[i];
    size_t n = strlen(named->uuid);
    bool same =
        n && !strcmp(named->backend, found->backend) && !strncasecmp(named->uuid, found->uuid, n);
    if (same || !strcmp(named->id, found->id))
      return named;
  }
  return NULL;
}

static void add(struct devices *devices, const struct spec *found, bool wanted) {
  struct spec *named = find_named(devices, found);
  if (named)
    memcpy(named->environment, found->environment, sizeof named->environment);
  else if (wanted && devices->count < VIEW_DEVICES)
    devices->all[devices->count++] = *found;
}

static bool is_found(const char *pci, const struct spec *found, unsigned count) {
  for (unsigned i = 0; i < count; i++)
    if (os_drm_same(pci, found[i].pci))
      return true;
  return false;
}

/* NULL: of no vendor that we know. */
static const struct vendor *vendor_of(const struct os_drm_card *card) {
  for (size_t i = 0; i < sizeof vendors / sizeof *vendors; i++)
    if (vendors[i].vendor == card->vendor)
      return &vendors[i];
  return NULL;
}

/* Also by CUDA, which has all of NVIDIA's or none. */
static bool is_served(const struct devices *devices, const struct os_drm_card *card,
                      const struct spec *found, unsigned count) {
  return (card->vendor == OS_DRM_NVIDIA && devices->found_count > 1) ||
         is_found(card->pci, found, count);
}

static void tell_unserved(struct devices *devices, const struct spec *found, unsigned count) {
  size_t used = 0;
  for (uint32_t i = 0; i < devices->card_count; i++) {
    const struct os_drm_card *card = &devices->cards[i];
    const struct vendor *vendor = vendor_of(card);
    if (!vendor || is_served(devices, card, found, count))
      continue;
    log_info("daemon", "the card %s %04x:%04x at %s is not served: %s", vendor->name, card->vendor,
             card->device, card->pci, vendor->why);
    if (used < sizeof devices->unserved)
      used += (size_t)snprintf(devices->unserved + used, sizeof devices->unserved - used,
                               "%s%s at %s", used ? ", " : "no driver offers the memory of ",
                               vendor->name, card->pci);
  }
}

void devices_choose(struct devices *devices, const struct config *config) {
  struct spec found[VIEW_DEVICES];
  memcpy(devices->all, config->devices, sizeof devices->all);
  devices->count = config->device_count;
  for (unsigned i = 0; i < devices->found_count; i++)
    add(devices, &devices->found[i],
        !config->device_count || strcmp(devices->found[i].backend, "host") != 0);
  unsigned count = finder_take(&devices->finder, found, VIEW_DEVICES, devices->unseen);
  for (unsigned i = 0; i < count; i++)
    add(devices, &found[i], true);
  if (!devices->unseen[0])
    tell_unserved(devices, found, count);
  for (unsigned i = 0; i < devices->count; i++)
    devices->all[i].broker = devices->worker;
}
