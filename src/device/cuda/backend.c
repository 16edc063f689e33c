#include "device/cuda/backend.h"

#include "device/cuda/mover.h"
#include "device/cuda/owner.h"

const struct backend cuda_backend = {
    .name = "cuda",
    .share = SHARE_CUDA_VMM,
    /* Measured on an H100, driver 580: 1 to 76 GiB, made and dirtied 18 times by turns, by one
     * creator and by several: not one byte was left. The driver clears what it gives out. */
    .fresh_is_zero = true,
    .reaches_host = true,
    .context = true,
    .open = cuda_owner_open,
    .close = cuda_owner_close,
    .describe = cuda_owner_describe,
    .budget = cuda_owner_budget,
    .create = cuda_owner_create,
    .release = cuda_owner_release,
    .settle = cuda_owner_settle,
    .processes = cuda_owner_processes,
    .start = cuda_mover_start,
    .stop = cuda_mover_stop,
    .import = cuda_mover_import,
    .drop = cuda_mover_drop,
    .peek = cuda_mover_peek,
    .read = cuda_mover_read,
    .write = cuda_mover_write,
    .copy = cuda_mover_copy,
    .sends = cuda_mover_sends,
    .copy_all = cuda_mover_copy_all,
    .sum = cuda_mover_sum,
    .fill = cuda_mover_fill,
};
