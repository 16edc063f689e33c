/*
 * cuda/sum: checksums of what lies on a card, made by the card, so that no byte crosses the link
 * for them: 8 GiB take it 3 ms.
 *
 * Any thread, with the card's context current.
 */
#ifndef DEVICE_CUDA_SUM_H
#define DEVICE_CUDA_SUM_H

#include "device/cuda/lane.h"
#include "device/cuda/load.h"

struct cuda_sum;

struct cuda_sum_range {
  api_pointer from; /* of any alignment */
  uint64_t size, chunk;
};

/* Compiles the kernel and pins host memory. The table is borrowed. DEVICE_NOT_FOUND: this driver
 * starts no kernel for us. */
enum status cuda_sum_create(const struct cuda_load *load, struct cuda_sum **out);
/* Needs the context. Harmless on NULL. */
void cuda_sum_free(struct cuda_sum *sum);
/* XXH3-64 of each chunk, of which the last may be shorter, into sums. With a lane that the caller
 * has taken; several run side by side, each with its own. */
enum status cuda_sum_run(struct cuda_sum *sum, struct cuda_lane *lane,
                         const struct cuda_sum_range *range, uint64_t *sums);

#endif
