#include "device/host/backend.h"

#include "device/host/mover.h"
#include "device/host/owner.h"

const struct backend host_backend = {
    .name = "host",
    .share = SHARE_MEMFD,
    .fresh_is_zero = true,
    .host_memory = true,
    .open = host_owner_open,
    .close = host_owner_close,
    .describe = host_owner_describe,
    .budget = host_owner_budget,
    .create = host_owner_create,
    .release = host_owner_release,
    .commit = host_owner_commit,
    .resident = host_owner_resident,
    .processes = host_owner_processes,
    .start = host_mover_start,
    .stop = host_mover_stop,
    .import = host_mover_import,
    .drop = host_mover_drop,
    .read = host_mover_read,
    .write = host_mover_write,
    .peek = host_mover_peek,
    .poke = host_mover_poke,
    .bring = host_mover_bring,
    .copy = host_mover_copy,
    .fill = host_mover_fill,
};
