/*
 * os_drm_query: two drivers, two ways to ask, and one shape of answer: a head that begins with the
 * number of regions, and a row for each. First they say how long it is. What is declared here is
 * the kernel's interface (include/uapi/drm/xe_drm.h, i915_drm.h), as far as it is used.
 */
#include "base/os_drm_query.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/units.h"

#define QUERY_REGIONS 16 /* a card's memories; a tile has one */
#define QUERY_HEAD 16    /* the longer one */

enum { QUERY_SYSTEM, QUERY_DEVICE }; /* kinds of regions, as both number them */

struct region {
  uint16_t kind, number;
  uint32_t more;
  uint64_t total, second; /* xe: what is in use; i915: what is not */
  uint64_t rest[8];
};
static_assert(sizeof(struct region) == 88, "as both drivers have it");

struct xe_query {
  uint64_t extensions;
  uint32_t what, size;
  uint64_t data, rest[2];
};
#define XE_QUERY _IOWR('d', 0x40, struct xe_query)
#define XE_MEMORY 1

struct i915_item {
  uint64_t what;
  int32_t length; /* 0 asks for it */
  uint32_t flags;
  uint64_t data;
};
struct i915_query {
  uint32_t count, flags;
  uint64_t items;
};
#define I915_QUERY _IOWR('d', 0x79, struct i915_query)
#define I915_MEMORY 4

struct answer {
  uint64_t words[(QUERY_HEAD + QUERY_REGIONS * sizeof(struct region)) / sizeof(uint64_t)];
};

/* ---- asking ---- */

static uint32_t ask_xe(int fd, struct answer *out, uint32_t size) {
  struct xe_query query = {.what = XE_MEMORY, .size = size, .data = (uintptr_t)out};
  return ioctl(fd, XE_QUERY, &query) ? 0 : query.size;
}

static uint32_t ask_i915(int fd, struct answer *out, uint32_t size) {
  struct i915_item item = {.what = I915_MEMORY, .length = (int32_t)size, .data = (uintptr_t)out};
  struct i915_query query = {.count = 1, .items = (uintptr_t)&item};
  return ioctl(fd, I915_QUERY, &query) || item.length < 0 ? 0 : (uint32_t)item.length;
}

static const struct driver {
  const char *name;
  uint32_t head;
  bool second_is_free;
  bool counts_system; /* else all the machine's RAM is named, which is no card's */
  /* The length of the answer, 0: none. Without room only that. */
  uint32_t (*ask)(int fd, struct answer *out, uint32_t size);
} drivers[] = {{"xe", 8, false, true, ask_xe}, {"i915", 16, true, false, ask_i915}};

static const struct driver *find_driver(const char *name) {
  for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
    if (!strcmp(drivers[i].name, name))
      return &drivers[i];
  return NULL;
}

/* How many regions it has; 0: it is none. */
static uint32_t ask(const struct driver *driver, int fd, struct answer *out) {
  uint32_t count, size = driver->ask(fd, NULL, 0);
  memset(out, 0, sizeof *out); /* i915 reads it too */
  if (size < driver->head || size > sizeof *out || driver->ask(fd, out, size) != size)
    return 0;
  memcpy(&count, out, sizeof count);
  return count <= (size - driver->head) / sizeof(struct region) ? count : 0;
}

/* ---- the answer ---- */

/* False: that is no memory. */
static bool add(const struct driver *driver, const struct region *region,
                struct os_drm_bytes heaps[OS_DRM_HEAPS]) {
  if (region->total > OS_DRM_LAST_BYTES || region->second > region->total)
    return false;
  if (region->kind > QUERY_DEVICE || (region->kind == QUERY_SYSTEM && !driver->counts_system))
    return true;
  struct os_drm_bytes *heap = &heaps[region->kind == QUERY_DEVICE ? OS_DRM_CARD : OS_DRM_HOST];
  heap->total_bytes += region->total;
  heap->used_bytes += driver->second_is_free ? region->total - region->second : region->second;
  return true;
}

static bool take(const struct driver *driver, const struct answer *answer, uint32_t count,
                 struct os_drm_card *card) {
  struct os_drm_bytes heaps[OS_DRM_HEAPS] = {{0, 0}, {0, 0}};
  const struct region *regions = (const void *)((const char *)answer + driver->head);
  bool told = false;
  for (uint32_t i = 0; i < count; i++)
    if (!add(driver, &regions[i], heaps))
      return false;
  for (int i = 0; i < OS_DRM_HEAPS; i++) {
    if (!heaps[i].total_bytes)
      continue;
    if (!heaps[i].used_bytes) /* or we may not know */
      heaps[i].used_bytes = OS_DRM_UNKNOWN;
    card->heaps[i] = heaps[i];
    told = true;
  }
  return told;
}

bool os_drm_query(const struct os_drm_root *root, struct os_drm_card *card) {
  const struct driver *driver = find_driver(card->driver);
  struct answer answer;
  char path[OS_DRM_PATH + 32];
  snprintf(path, sizeof path, "%s/dri/%s", root->dev, card->node);
  if (!driver || !card->node[0])
    return false;
  int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0)
    return false;
  uint32_t count = ask(driver, fd, &answer);
  close(fd);
  return count && take(driver, &answer, count, card);
}
