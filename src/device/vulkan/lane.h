/*
 * vulkan/lane: the way to a card: commands, a semaphore that counts them, and a ring of pieces of
 * staging through which bytes go that lie elsewhere. One call uses one lane; several run side by
 * side.
 *
 * All functions of a pool may be called by any thread, those of a lane by the one that took it.
 */
#ifndef DEVICE_VULKAN_LANE_H
#define DEVICE_VULKAN_LANE_H

#include "device/vulkan/staging.h"

struct vulkan_lane_pool;
struct vulkan_lane;

/* Card and staging are borrowed. */
enum status vulkan_lane_pool_create(struct vulkan_card *card, struct vulkan_staging *staging,
                                    struct vulkan_lane_pool **out);
/* Every lane was given back. Harmless on NULL. */
void vulkan_lane_pool_free(struct vulkan_lane_pool *pool);
/* Waits while all are in use. */
enum status vulkan_lane_take(struct vulkan_lane_pool *pool, struct vulkan_lane **out);
void vulkan_lane_give(struct vulkan_lane_pool *pool, struct vulkan_lane *lane);

/* Each returns when the bytes are where they shall be, or with what failed; of what failed in the
 * middle nothing is under way any more. Feed and drain are backend.h's. */
enum status vulkan_lane_feed(struct vulkan_lane *lane, struct vulkan_place to, uint64_t size,
                             const struct device_flow *flow);
enum status vulkan_lane_drain(struct vulkan_lane *lane, struct vulkan_place from, uint64_t size,
                              const struct device_flow *flow);
enum status vulkan_lane_read(struct vulkan_lane *lane, struct vulkan_place from, uint64_t size,
                             void *bytes);
enum status vulkan_lane_write(struct vulkan_lane *lane, struct vulkan_place to, uint64_t size,
                              const void *bytes);
/* Over the link, where the card reaches both ends. */
enum status vulkan_lane_send(struct vulkan_lane *lane, struct vulkan_place from,
                             struct vulkan_place to, uint64_t size);
/* Inside the card. */
enum status vulkan_lane_copy(struct vulkan_lane *lane, struct vulkan_place from,
                             struct vulkan_place to, uint64_t size);
enum status vulkan_lane_fill(struct vulkan_lane *lane, struct vulkan_place to, uint64_t size,
                             uint8_t value);

/* For who writes down commands of his own, in either of two turns (0, 1): begins them, which the
 * turn's last were waited for; sees to it that what follows has what is before; starts them; waits
 * for them; waits for all, and says what failed first. */
enum status vulkan_lane_begin(struct vulkan_lane *lane, unsigned turn, VkCommandBuffer *out);
void vulkan_lane_order(struct vulkan_lane *lane, unsigned turn);
enum status vulkan_lane_start(struct vulkan_lane *lane, unsigned turn);
enum status vulkan_lane_await(struct vulkan_lane *lane, unsigned turn);
enum status vulkan_lane_finish(struct vulkan_lane *lane, enum status status);

#endif
