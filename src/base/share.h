/*
 * share: what another process needs to reach a piece of memory. A file descriptor on Linux; Windows
 * will put a handle here. Nothing above base/ and device/<backend>/ knows more than this struct.
 *
 * Ownership: a struct share owns its value; `share_close` gives it back. Passing one by pointer
 * borrows, "takes" moves.
 */
#ifndef BASE_SHARE_H
#define BASE_SHARE_H

#include <stdint.h>

#include "base/status.h"

enum share_kind {
  SHARE_NONE,
  SHARE_MEMFD,
  SHARE_CUDA_VMM,
  SHARE_VULKAN_OPAQUE,
  SHARE_D3D12,
  SHARE_FILE
};

struct share {
  enum share_kind kind;
  intptr_t value; /* the fd; meaningless for SHARE_NONE */
};

/* "memfd", "cuda-vmm", "vulkan-opaque", "d3d12", "file"; "none". Static. */
const char *share_kind_name(enum share_kind kind);
enum share_kind share_kind_parse(const char *name);
/* A second handle on the same memory (close-on-exec). INTERNAL_ERROR when the process is out of
 * fds. */
enum status share_copy(const struct share *share, struct share *out);
/* Closes and resets to SHARE_NONE; harmless on SHARE_NONE. May take long for large memory: not
 * under a lock. */
void share_close(struct share *share);

#endif
