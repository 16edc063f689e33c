/*
 * os_drm_users: which processes have how much of a card's memory, as the kernel's graphics drivers
 * tell it of each open card (/proc/PID/fdinfo, Documentation/gpu/drm-usage-stats.rst).
 *
 * A card that was opened once may be had by many descriptors and processes: it counts once
 * (drm-client-id), for the process with the lowest pid. Memory that several share counts for each.
 * Only root sees all; others see their own.
 *
 * Costs two system calls for every open file that we may look at, and three more for every open
 * card; after the first thousand files not longer than a quarter of a second, and what was not seen
 * by then is missing. Any thread that may wait so long.
 */
#ifndef BASE_OS_DRM_USERS_H
#define BASE_OS_DRM_USERS_H

#include <sys/types.h>

#include "base/os_drm.h"
#include "base/os_proc.h"

struct os_drm_user {
  pid_t pid;
  char name[OS_PROC_NAME];
  uint64_t bytes[OS_DRM_HEAPS]; /* in memory now where the driver tells that, else what it made; or
                                   OS_DRM_UNKNOWN */
};

/* Processes that have this card open, by pid. Returns how many of `out` were filled. */
uint32_t os_drm_users(const struct os_drm_root *root, const char *pci, struct os_drm_user *out,
                      uint32_t max);

#endif
