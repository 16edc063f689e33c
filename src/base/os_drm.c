/*
 * os_drm: a card is a folder of /sys/bus/pci/devices; /sys/class/drm has a node for each that
 * programs can open. A number is one short file, and whatever is not exactly that is not known.
 */
#include "base/os_drm.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/units.h"

#define DRM_NODES 256 /* looked at in /sys/class/drm: connectors of screens are there too */
#define DRM_TILES 8   /* an Intel card's memories */
#define DRM_NUMBER 32 /* text of one */
#define DRM_LINK 256  /* target of a link */
#define DRM_FILE 640  /* path of one */
#define DRM_MOST 64   /* cards of a machine */

void os_drm_root(struct os_drm_root *out) {
  const char *elsewhere = getenv("MEMKEEP_DRM");
  const char *above = elsewhere && strlen(elsewhere) < OS_DRM_PATH - 8 ? elsewhere : "";
  snprintf(out->sys, sizeof out->sys, "%.200s/sys", above);
  snprintf(out->proc, sizeof out->proc, "%.200s/proc", above);
  snprintf(out->dev, sizeof out->dev, "%.200s/dev", above);
}

/* ---- one file ---- */

static bool read_text(const char *path, char out[DRM_NUMBER]) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0)
    return false;
  ssize_t n = read(fd, out, DRM_NUMBER - 1);
  close(fd);
  if (n <= 0 || n == DRM_NUMBER - 1)
    return false;
  out[n] = 0;
  out[strcspn(out, "\n")] = 0;
  return true;
}

static uint64_t read_bytes(const char *folder, const char *name) {
  char path[DRM_FILE], text[DRM_NUMBER];
  uint64_t value;
  snprintf(path, sizeof path, "%.400s/%.100s", folder, name);
  if (!read_text(path, text) || !text[0] || strspn(text, "0123456789") != strlen(text))
    return OS_DRM_UNKNOWN;
  value = strtoull(text, NULL, 10);
  return value <= OS_DRM_LAST_BYTES ? value : OS_DRM_UNKNOWN;
}

/* "0x1002" */
static uint16_t read_id(const char *folder, const char *name) {
  char path[DRM_FILE], text[DRM_NUMBER], *end;
  snprintf(path, sizeof path, "%.400s/%.100s", folder, name);
  if (!read_text(path, text) || strncmp(text, "0x", 2) != 0)
    return 0;
  unsigned long value = strtoul(text + 2, &end, 16);
  return *end || value > UINT16_MAX ? 0 : (uint16_t)value;
}

/* The last word of what a link names; false where that is no word of less than `size`. */
static bool read_link(const char *folder, const char *name, char *out, size_t size) {
  char path[DRM_FILE], target[DRM_LINK];
  snprintf(path, sizeof path, "%.400s/%.100s", folder, name);
  ssize_t n = readlink(path, target, sizeof target - 1);
  if (n <= 0 || n == sizeof target - 1)
    return false;
  target[n] = 0;
  const char *slash = strrchr(target, '/'), *word = slash ? slash + 1 : target;
  if (!word[0] || strlen(word) >= size)
    return false;
  memcpy(out, word, strlen(word) + 1);
  return true;
}

static bool is_address(const char *text) {
  static const char hex[] = "0123456789abcdefABCDEF", shape[] = ":00:00.0";
  size_t domain = strspn(text, hex);
  if (domain < 4 || domain > 7 || strlen(text) != domain + sizeof shape - 1)
    return false;
  for (size_t i = 0; shape[i]; i++)
    if (shape[i] == '0' ? !strchr(hex, text[domain + i]) : text[domain + i] != shape[i])
      return false;
  return true;
}

/* ---- a card ---- */

static struct os_drm_bytes read_heap(const char *folder, const char *heap) {
  char name[64];
  struct os_drm_bytes bytes;
  snprintf(name, sizeof name, "mem_info_%s_total", heap);
  bytes.total_bytes = read_bytes(folder, name);
  snprintf(name, sizeof name, "mem_info_%s_used", heap);
  bytes.used_bytes = read_bytes(folder, name);
  if (bytes.used_bytes != OS_DRM_UNKNOWN && bytes.total_bytes != OS_DRM_UNKNOWN)
    bytes.used_bytes = units_min(bytes.used_bytes, bytes.total_bytes); /* two readings */
  return bytes;
}

/* xe has a file for each tile. */
static uint64_t read_tiles(const char *folder) {
  uint64_t sum = 0;
  for (int tile = 0; tile < DRM_TILES; tile++) {
    char name[64];
    snprintf(name, sizeof name, "tile%d/physical_vram_size_bytes", tile);
    uint64_t one = read_bytes(folder, name);
    if (one == OS_DRM_UNKNOWN)
      break;
    sum += one;
  }
  return sum ? sum : OS_DRM_UNKNOWN;
}

/* The name of the card's node that begins so, of less than `size`; false: it has none. */
static bool find_node(const char *folder, const char *begin, char *out, size_t size) {
  char path[DRM_FILE];
  snprintf(path, sizeof path, "%.400s/drm", folder);
  DIR *nodes = opendir(path);
  const struct dirent *entry;
  bool found = false;
  while (nodes && !found && (entry = readdir(nodes)))
    if ((found = !strncmp(entry->d_name, begin, strlen(begin)) && strlen(entry->d_name) < size))
      memcpy(out, entry->d_name, strlen(entry->d_name) + 1);
  if (nodes)
    closedir(nodes);
  return found;
}

/* Intel's own edition of i915 tells it beside the screen's node. */
static uint64_t read_beside_node(const char *folder) {
  char node[sizeof((struct os_drm_card *)NULL)->node], path[64];
  if (!find_node(folder, "card", node, sizeof node))
    return OS_DRM_UNKNOWN;
  snprintf(path, sizeof path, "drm/%s/lmem_total_bytes", node);
  return read_bytes(folder, path);
}

enum status os_drm_card(const struct os_drm_root *root, const char *pci, struct os_drm_card *out) {
  char folder[DRM_FILE];
  if (!is_address(pci))
    return STATUS_NOT_FOUND;
  struct os_drm_card card = {.vendor = 0};
  for (size_t i = 0; pci[i]; i++)
    card.pci[i] = pci[i] >= 'A' && pci[i] <= 'F' ? (char)(pci[i] + 'a' - 'A') : pci[i];
  snprintf(folder, sizeof folder, "%.250s/bus/pci/devices/%s", root->sys, card.pci);
  if (access(folder, F_OK))
    return STATUS_NOT_FOUND;
  card.vendor = read_id(folder, "vendor");
  card.device = read_id(folder, "device");
  if (!read_link(folder, "driver", card.driver, sizeof card.driver))
    card.driver[0] = 0;
  if (!find_node(folder, "renderD", card.node, sizeof card.node))
    card.node[0] = 0;
  card.heaps[OS_DRM_CARD] = read_heap(folder, "vram");
  card.heaps[OS_DRM_HOST] = read_heap(folder, "gtt");
  card.visible = read_heap(folder, "vis_vram");
  uint64_t *own = &card.heaps[OS_DRM_CARD].total_bytes;
  if (*own == OS_DRM_UNKNOWN)
    *own = read_tiles(folder);
  if (*own == OS_DRM_UNKNOWN)
    *own = read_beside_node(folder);
  *out = card;
  return STATUS_OK;
}

struct os_drm_bytes os_drm_sum(const struct os_drm_card *card, bool with_host) {
  struct os_drm_bytes sum = card->heaps[OS_DRM_CARD];
  const struct os_drm_bytes *host = &card->heaps[OS_DRM_HOST];
  if (!with_host || host->total_bytes == OS_DRM_UNKNOWN)
    return sum;
  if (sum.total_bytes == OS_DRM_UNKNOWN)
    return *host;
  sum.total_bytes += host->total_bytes;
  if (host->used_bytes == OS_DRM_UNKNOWN || sum.used_bytes == OS_DRM_UNKNOWN)
    sum.used_bytes = OS_DRM_UNKNOWN;
  else
    sum.used_bytes += host->used_bytes;
  return sum;
}

bool os_drm_same(const char *a, const char *b) { return a[0] && !strcasecmp(a, b); }

/* ---- all ---- */

static int by_address(const void *a, const void *b) { return strcmp(a, b); }

/* Addresses of what has a node for rendering; a screen's controller has none. */
static uint32_t list_addresses(const struct os_drm_root *root, char out[][OS_DRM_PCI]) {
  char folder[DRM_FILE], node[DRM_FILE];
  const struct dirent *entry;
  uint32_t seen = 0, count = 0;
  snprintf(folder, sizeof folder, "%.250s/class/drm", root->sys);
  DIR *nodes = opendir(folder);
  while (nodes && seen++ < DRM_NODES && count < DRM_MOST && (entry = readdir(nodes))) {
    if (strncmp(entry->d_name, "renderD", 7) != 0)
      continue;
    snprintf(node, sizeof node, "%.300s/%.100s", folder, entry->d_name);
    count += read_link(node, "device", out[count], OS_DRM_PCI);
  }
  if (nodes)
    closedir(nodes);
  qsort(out, count, OS_DRM_PCI, by_address);
  return count;
}

uint32_t os_drm_cards(const struct os_drm_root *root, struct os_drm_card *out, uint32_t max) {
  char addresses[DRM_MOST][OS_DRM_PCI];
  uint32_t found = list_addresses(root, addresses), count = 0;
  for (uint32_t i = 0; i < found && count < max; i++)
    if ((!i || strcmp(addresses[i], addresses[i - 1]) != 0) &&
        !os_drm_card(root, addresses[i], &out[count]))
      count++;
  return count;
}
