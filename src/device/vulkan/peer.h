/*
 * vulkan/peer: the memory of one card as another card's queues have it, where both drivers pass
 * dma-bufs. That a driver imports one says nothing of what it then reads and writes there. So each
 * pair of cards is tried once, with bytes that go across and come back, before it is believed.
 */
#ifndef DEVICE_VULKAN_PEER_H
#define DEVICE_VULKAN_PEER_H

#include "device/vulkan/lane.h"
#include "device/vulkan/memory.h"

#define VULKAN_PEERS 32 /* cards that one looks at; beyond them bytes are staged */

/* A card that copies, and its lanes. */
struct vulkan_peer_card {
  const struct vulkan_card *card;
  struct vulkan_lane_pool *pool;
};

/* What one card reaches, as far as it was tried; zeros at first. One thread at a time. */
struct vulkan_peer_pairs {
  struct vulkan_peer_pair {
    const struct vulkan_card *other;
    bool reaches;
  } all[VULKAN_PEERS];
  unsigned count;
};

/* Whether the card reaches the other's memory. The first time it takes some milliseconds, and waits
 * for a lane of each; what cannot be proven then is not tried again. */
bool vulkan_peer_reaches(struct vulkan_peer_pairs *pairs, const struct vulkan_peer_card *card,
                         const struct vulkan_peer_card *other);
/* What the other imported, a segment of so many bytes, for commands of the card, which is to drop
 * it. Any thread. */
enum status vulkan_peer_open(const struct vulkan_card *card, const struct vulkan_card *other,
                             VkDeviceMemory memory, uint64_t size, struct vulkan_memory *out);

#endif
