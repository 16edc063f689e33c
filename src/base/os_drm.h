/*
 * os_drm: what the kernel's graphics drivers say about a card's memory, in /sys, without any
 * vendor's library. amdgpu tells what there is and what is in use; Intel's drivers tell at most how
 * much there is (the rest os_drm_query.h asks them); NVIDIA's tells nothing. Read at each call,
 * never kept; a call costs some ten system calls. Any thread that may wait for a driver.
 *
 * Where the files are is a parameter, so that recorded ones can be read (tests/drm).
 */
#ifndef BASE_OS_DRM_H
#define BASE_OS_DRM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#define OS_DRM_PATH 256
#define OS_DRM_PCI 16 /* "0000:03:00.0", with the NUL; domains have four digits, or more */
#define OS_DRM_UNKNOWN UINT64_MAX
#define OS_DRM_NVIDIA 0x10de /* a vendor */

struct os_drm_root {
  char sys[OS_DRM_PATH], proc[OS_DRM_PATH], dev[OS_DRM_PATH];
};

/* Which memory. A card with none of its own has a piece of the host's cut out for it, which counts
 * as CARD, and takes more as it needs: one budget of two heaps. */
enum os_drm_heap {
  OS_DRM_CARD, /* its own (VRAM), or the piece that is cut out */
  OS_DRM_HOST, /* pages of the host's that it reaches (GTT) */
  OS_DRM_HEAPS
};

struct os_drm_bytes {
  uint64_t total_bytes, used_bytes; /* used never exceeds a total that is known; or OS_DRM_UNKNOWN,
                                       each */
};

struct os_drm_card {
  char pci[OS_DRM_PCI];
  char driver[16];         /* "amdgpu" "i915" "xe" "nvidia"; "" not known */
  char node[16];           /* of /dev/dri, which programs open: "renderD128"; "" none */
  uint16_t vendor, device; /* of the PCI registry; 0: not known */
  struct os_drm_bytes heaps[OS_DRM_HEAPS];
  struct os_drm_bytes visible; /* the part of CARD that a core sees */
};

/* More is no size of a memory. */
#define OS_DRM_LAST_BYTES (UINT64_C(1) << 60)

/* The machine's own /sys, /proc and /dev, or those below $MEMKEEP_DRM. */
void os_drm_root(struct os_drm_root *out);
/* Cards that programs can use, by address. Returns how many of `out` were filled. */
uint32_t os_drm_cards(const struct os_drm_root *root, struct os_drm_card *out, uint32_t max);
/* One card. NOT_FOUND: there is no such address. */
enum status os_drm_card(const struct os_drm_root *root, const char *pci, struct os_drm_card *out);
/* Of the heaps of one budget: CARD alone, or with HOST. What is not known of one is not known of
 * the sum; a heap without a total is none. */
struct os_drm_bytes os_drm_sum(const struct os_drm_card *card, bool with_host);
/* Whether two texts are the same PCI address: "0000:C1:00.0" is "0000:c1:00.0". "" is none. */
bool os_drm_same(const char *a, const char *b);

#endif
