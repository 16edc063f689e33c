/*
 * os_drm_query: what Intel's drivers of the kernel, xe and i915, tell of a card's memory to who
 * asks them: how much of it can be had, and how much is in use. The first is told to all who may
 * open the card (group `render`), the second to root and who has CAP_PERFMON. Others are told that
 * nothing is in use; nobody can tell that from a card that is empty, so it is not known.
 *
 * The card is opened for the call, which a driver may let wait, and which may wake the card up:
 * only for processes that have its driver anyway. Any thread.
 */
#ifndef BASE_OS_DRM_QUERY_H
#define BASE_OS_DRM_QUERY_H

#include "base/os_drm.h"

/* Asks, and puts the answer in the place of what `card` says of its heaps. False: there is nobody
 * to ask, or no answer that can be one; the card is as it was. */
bool os_drm_query(const struct os_drm_root *root, struct os_drm_card *card);

#endif
