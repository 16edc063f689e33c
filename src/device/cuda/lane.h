/*
 * cuda/lane: the way to a card: a stream, and two pieces of pinned memory through which bytes go
 * that are not pinned themselves. One call uses one lane; several run side by side.
 *
 * All functions of a pool may be called by any thread, those of a lane by the one that took it,
 * with the card's context current.
 */
#ifndef DEVICE_CUDA_LANE_H
#define DEVICE_CUDA_LANE_H

#include "device/cuda/load.h"

#define CUDA_LANE_MOST 8 /* as many cores as fill a link, and some for who copies inside */

struct cuda_lane_pool;
struct cuda_lane;

/* The table is borrowed. */
enum status cuda_lane_pool_create(const struct cuda_load *load, struct cuda_lane_pool **out);
/* Every lane was given back. Needs the context. Harmless on NULL. */
void cuda_lane_pool_free(struct cuda_lane_pool *pool);
/* Waits while all are in use. */
enum status cuda_lane_take(struct cuda_lane_pool *pool, struct cuda_lane **out);
void cuda_lane_give(struct cuda_lane_pool *pool, struct cuda_lane *lane);

/* For who starts something else on it, and waits for it. */
api_stream cuda_lane_stream(const struct cuda_lane *lane);
/* Less than CUDA_LANE_MOST; no two of a pool have the same. */
unsigned cuda_lane_number(const struct cuda_lane *lane);

/* Each returns when the bytes are where they shall be, or with what failed. */
enum status cuda_lane_read(struct cuda_lane *lane, api_pointer from, uint64_t size, void *to);
enum status cuda_lane_write(struct cuda_lane *lane, api_pointer to, uint64_t size,
                            const void *from);
/* From memory that the driver has pinned. */
enum status cuda_lane_send(struct cuda_lane *lane, api_pointer to, uint64_t size, const void *from);
enum status cuda_lane_copy(struct cuda_lane *lane, api_pointer from, api_pointer to, uint64_t size);
enum status cuda_lane_fill(struct cuda_lane *lane, api_pointer to, uint64_t size, uint8_t value);

#endif
