/*
 * cuda/pinned: memory of this machine that a card's copy engine reads by itself: mapped, and pinned
 * piece by piece when a piece is first copied from. It stays pinned until it is closed.
 *
 * Any thread, with a context current unless said otherwise.
 */
#ifndef DEVICE_CUDA_PINNED_H
#define DEVICE_CUDA_PINNED_H

#include "base/share.h"
#include "device/cuda/load.h"

struct cuda_pinned;

/* Maps the first `size` bytes of a memfd, for reading; nothing is pinned yet. The table is
 * borrowed, the share only during the call. Needs no context. INVALID_ARGUMENT: the memfd is
 * smaller. */
enum status cuda_pinned_open(const struct cuda_load *load, const struct share *share, uint64_t size,
                             struct cuda_pinned **out);
/* Nobody uses it any more. */
void cuda_pinned_close(struct cuda_pinned *pinned);
/* The first byte, of `size`. Needs no context. */
const char *cuda_pinned_bytes(const struct cuda_pinned *pinned);
/* Pins the piece that the offset lies in, if nobody did. Returns where the piece ends: no copy may
 * reach beyond it. *ready: false where the driver refuses; then the bytes are to be staged. */
uint64_t cuda_pinned_ready(struct cuda_pinned *pinned, uint64_t offset, bool *ready);

#endif
