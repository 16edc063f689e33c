/*
 * devices: NVIDIA's driver is asked here, all others by the finder beside it, in a process of their
 * own. They are not bothered where the kernel has no card, nor for NVIDIA's cards where CUDA has
 * them.
 *
 * A card under two APIs is found twice. Which is the same is known when one is open: the service
 * leaves the second out (inventory.h).
 */
#include "daemon/devices.h"

#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "device/probe.h"

/* Cards of vendors whose drivers for the kernel tell enough to say: nobody serves this one. */
static const struct {
  uint16_t vendor;
  const char *name;
} vendors[] = {{0x1002, "AMD"}, {0x8086, "Intel"}};

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

static void tell_unserved(const struct devices *devices, const struct spec *found, unsigned count) {
  for (uint32_t i = 0; i < devices->card_count; i++) {
    const struct os_drm_card *card = &devices->cards[i];
    for (size_t k = 0; k < sizeof vendors / sizeof *vendors; k++)
      if (vendors[k].vendor == card->vendor && !is_found(card->pci, found, count))
        log_info("daemon",
                 "the card %s %04x:%04x at %s is not served: no Vulkan driver offers its memory",
                 vendors[k].name, card->vendor, card->device, card->pci);
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
