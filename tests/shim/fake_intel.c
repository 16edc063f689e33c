/*
 * fake_intel: ioctl(2), with an answer of Intel's drivers where there are none. FAKE: no card
 * stands behind it. Preloaded into a program, or linked into a test.
 *
 * Who asks a file in the way in which xe and i915 are asked for their memory gets what its text
 * says, in the shape of the kernel's include/uapi/drm/xe_drm.h and i915_drm.h. The first line is
 *     DRIVER SIZE COUNT
 * where SIZE and COUNT are what the answer says of its length and its number of regions, 0 the
 * truth; each other line is a region:
 *     KIND TOTAL SECOND
 * that is its class (0 the host's, 1 the card's), its size, and what is used (xe) or left (i915).
 * Everything else goes to the kernel.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default"), used))
#define XE 0xc0286440UL   /* DRM_IOCTL_XE_DEVICE_QUERY */
#define I915 0xc0106479UL /* DRM_IOCTL_I915_QUERY */
#define REGION 88
#define MOST 64

struct recorded {
  uint32_t size, count; /* as it says */
  uint32_t length;      /* of what is there */
  uint64_t words[(16 + MOST * REGION) / 8];
};

static int fail(int error) {
  errno = error;
  return -1;
}

static void add_region(struct recorded *out, uint32_t kind, uint64_t total, uint64_t second) {
  const uint64_t region[REGION / 8] = {kind, total, second};
  memcpy((char *)out->words + out->length, region, sizeof region);
  out->length += REGION;
}

/* False: the file is no answer of that driver. */
static int read_recorded(int fd, const char *driver, uint32_t head, struct recorded *out) {
  char text[4096], name[8] = "", *rest = NULL;
  uint32_t size = 0, count = 0, regions = 0, kind;
  uint64_t total, second;
  ssize_t n = pread(fd, text, sizeof text - 1, 0);
  text[n > 0 ? n : 0] = 0;
  char *line = strtok_r(text, "\n", &rest);
  if (!line || sscanf(line, "%7s %" SCNu32 " %" SCNu32, name, &size, &count) != 3 ||
      strcmp(name, driver) != 0)
    return 0;
  *out = (struct recorded){.length = head};
  while (regions < MOST && (line = strtok_r(NULL, "\n", &rest)) &&
         sscanf(line, "%" SCNu32 " %" SCNu64 " %" SCNu64, &kind, &total, &second) == 3) {
    add_region(out, kind, total, second);
    regions++;
  }
  out->size = size ? size : out->length;
  out->count = count ? count : regions;
  memcpy(out->words, &out->count, sizeof out->count);
  return 1;
}

static int answer_xe(int fd, void *arg) {
  struct {
    uint64_t extensions;
    uint32_t what, size;
    uint64_t data;
  } query;
  struct recorded recorded;
  memcpy(&query, arg, sizeof query);
  if (!read_recorded(fd, "xe", 8, &recorded))
    return fail(ENOTTY);
  if (query.what != 1 || (query.size && query.size != recorded.size))
    return fail(EINVAL);
  if (query.size)
    memcpy((void *)(uintptr_t)query.data, recorded.words, recorded.length);
  query.size = recorded.size;
  memcpy(arg, &query, sizeof query);
  return 0;
}

static int answer_i915(int fd, void *arg) {
  struct {
    uint32_t count, flags;
    uint64_t items;
  } query;
  struct {
    uint64_t what;
    int32_t length;
    uint32_t flags;
    uint64_t data;
  } item;
  struct recorded recorded;
  uint32_t asked[4]; /* the count and what else must be zero */
  memcpy(&query, arg, sizeof query);
  if (!read_recorded(fd, "i915", 16, &recorded))
    return fail(ENOTTY);
  memcpy(&item, (void *)(uintptr_t)query.items, sizeof item);
  if (query.count != 1 || item.what != 4 ||
      (item.length && (uint32_t)item.length < recorded.size)) {
    item.length = -EINVAL;
  } else if (!item.length) {
    item.length = (int32_t)recorded.size;
  } else {
    memcpy(asked, (void *)(uintptr_t)item.data, sizeof asked);
    item.length = asked[0] | asked[1] | asked[2] | asked[3] ? -EINVAL : (int32_t)recorded.size;
    if (item.length > 0)
      memcpy((void *)(uintptr_t)item.data, recorded.words, recorded.length);
  }
  memcpy((void *)(uintptr_t)query.items, &item, sizeof item);
  return 0;
}

EXPORT int ioctl(int fd, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  void *arg = va_arg(rest, void *);
  va_end(rest);
  if (request == XE)
    return answer_xe(fd, arg);
  if (request == I915)
    return answer_i915(fd, arg);
  return (int)syscall(SYS_ioctl, fd, request, arg);
}
