/*
 * share: on Linux the value is a file descriptor, whatever the kind. Copies are close-on-exec and
 * never land on 0, 1 or 2, where a child would take them for its streams.
 */
#include "base/share.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define FIRST_FD 3 /* after stdin, stdout, stderr */

static const char *const names[] = {
    [SHARE_NONE] = "none",         [SHARE_MEMFD] = "memfd",
    [SHARE_CUDA_VMM] = "cuda-vmm", [SHARE_VULKAN_OPAQUE] = "vulkan-opaque",
    [SHARE_D3D12] = "d3d12",       [SHARE_FILE] = "file",
};
#define KINDS (sizeof names / sizeof *names)

const char *share_kind_name(enum share_kind kind) {
  return names[(size_t)kind < KINDS ? kind : SHARE_NONE];
}

enum share_kind share_kind_parse(const char *name) {
  for (size_t i = 0; name && i < KINDS; i++)
    if (!strcmp(names[i], name))
      return (enum share_kind)i;
  return SHARE_NONE;
}

enum status share_copy(const struct share *share, struct share *out) {
  struct share copy = {.kind = share->kind};
  if (share->kind != SHARE_NONE) {
    copy.value = fcntl((int)share->value, F_DUPFD_CLOEXEC, FIRST_FD);
    if (copy.value < 0)
      return STATUS_INTERNAL_ERROR;
  }
  *out = copy;
  return STATUS_OK;
}

void share_close(struct share *share) {
  if (share->kind != SHARE_NONE)
    close((int)share->value);
  *share = (struct share){.kind = SHARE_NONE};
}
