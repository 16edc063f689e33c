/*
 * vulkan/batch: many copies inside one card, of which each is compared with its source. A
 * submission that is waited for takes some 20 us, in which a card moves many MiB; here one does
 * thousands of copies.
 *
 * Any thread.
 */
#ifndef DEVICE_VULKAN_BATCH_H
#define DEVICE_VULKAN_BATCH_H

#include "device/vulkan/lane.h"

struct vulkan_batch_move {
  struct vulkan_place from, to; /* neither overlaps any other of the list */
  uint64_t size;
  bool same; /* result: both ends were read from the card as the same */
};

/* Returns when all of them are done and compared, or with what failed. Uses the lane's both turns.
 */
struct vulkan_batch {
  struct vulkan_card *card;
  struct vulkan_staging *staging;
  struct vulkan_lane *lane;
};
enum status vulkan_batch_run(const struct vulkan_batch *with, struct vulkan_batch_move *moves,
                             uint32_t count);

#endif
