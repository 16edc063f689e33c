/*
 * vulkan/staging: memory of this machine that a card's copy engine reads and writes by itself, in
 * pieces that are taken and given back. What lies in one needs no core to be copied to the card.
 *
 * Any thread.
 */
#ifndef DEVICE_VULKAN_STAGING_H
#define DEVICE_VULKAN_STAGING_H

#include "device/vulkan/card.h"

struct vulkan_staging;

/* The card is borrowed. */
enum status vulkan_staging_create(struct vulkan_card *card, struct vulkan_staging **out);
/* Every piece was given back. Harmless on NULL. */
void vulkan_staging_free(struct vulkan_staging *staging);
/* A piece of at least `size` bytes, mapped, not cleared; NULL: the driver has no more, or so many
 * are in use. */
void *vulkan_staging_take(struct vulkan_staging *staging, uint64_t size);
/* False: it is none of its pieces, and nothing was done. */
bool vulkan_staging_give(struct vulkan_staging *staging, const void *bytes);
/* Where such bytes lie for the card; false: not in a piece. */
bool vulkan_staging_find(struct vulkan_staging *staging, const void *bytes, uint64_t size,
                         struct vulkan_place *out);

#endif
