#include "device/vulkan/backend.h"

#include "device/vulkan/mover.h"
#include "device/vulkan/owner.h"

const struct backend vulkan_backend = {
    .name = "vulkan",
    .share = SHARE_VULKAN_OPAQUE,
    .context = true,
    .open = vulkan_owner_open,
    .close = vulkan_owner_close,
    .describe = vulkan_owner_describe,
    .budget = vulkan_owner_budget,
    .processes = vulkan_owner_processes,
    .create = vulkan_owner_create,
    .release = vulkan_owner_release,
    .start = vulkan_mover_start,
    .stop = vulkan_mover_stop,
    .import = vulkan_mover_import,
    .drop = vulkan_mover_drop,
    .stage = vulkan_mover_stage,
    .unstage = vulkan_mover_unstage,
    .read = vulkan_mover_read,
    .write = vulkan_mover_write,
    .feed = vulkan_mover_feed,
    .drain = vulkan_mover_drain,
    .peek = vulkan_mover_peek,
    .poke = vulkan_mover_poke,
    .copy = vulkan_mover_copy,
    .sends = vulkan_mover_sends,
    .copy_all = vulkan_mover_copy_all,
    .fill = vulkan_mover_fill,
};
