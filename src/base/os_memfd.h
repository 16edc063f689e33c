/*
 * os_memfd: anonymous memory that other processes can map, as a share of kind SHARE_MEMFD. Mode
 * 0600, close-on-exec. Thread-safe; every call is a system call, so never under the state lock.
 *
 * Any call: CONFLICT when a seal forbids it, INTERNAL_ERROR when the share is no memfd or the
 * process is out of descriptors or address space.
 */
#ifndef BASE_OS_MEMFD_H
#define BASE_OS_MEMFD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/share.h"
#include "base/status.h"

/* What nobody, we included, can do any more. Flags; a seal is never taken back. */
enum os_memfd_seal {
  OS_MEMFD_SEAL_SHRINK = 1,
  OS_MEMFD_SEAL_GROW = 2,
  OS_MEMFD_SEAL_SIZE = OS_MEMFD_SEAL_SHRINK | OS_MEMFD_SEAL_GROW,
  OS_MEMFD_SEAL_WRITE = 4, /* write or punch; writable mappings that exist keep writing */
  OS_MEMFD_SEAL_FINAL = 8  /* add a seal */
};

/* `name` shows in /proc/PID/maps (at most 249 bytes). No page is committed, nothing sealed. The
 * caller closes *out. INSUFFICIENT_MEMORY: larger than a file can be. */
enum status os_memfd_create(const char *name, uint64_t size_bytes, struct share *out);
/* `seals` are flags of enum os_memfd_seal. */
enum status os_memfd_seal(const struct share *share, unsigned seals);
/* All of them hold. False for what is no memfd. */
bool os_memfd_is_sealed(const struct share *share, unsigned seals);
/* Commits the pages of a range; extends the file when the range ends beyond it. Takes ~0.3 s per
 * GiB: large ranges in pieces. Huge pages where the kernel has them for who asks: the range is
 * mapped as long as that takes. INSUFFICIENT_MEMORY: nothing was committed, or huge pages of the
 * range only. Do not count on it: without a cgroup's help the kernel takes all RAM and then kills
 * processes, so compare with what is free before you ask. */
enum status os_memfd_commit(const struct share *share, uint64_t offset, uint64_t bytes);
/* Gives the pages of a range back; they read as zero. Partial pages at the ends are zeroed. */
enum status os_memfd_punch(const struct share *share, uint64_t offset, uint64_t bytes);
/* A second handle on the same memory that cannot write and cannot be mapped writable. Another user
 * cannot open it anew for writing; one of the same user can, through /proc. The caller closes it.
 */
enum status os_memfd_read_only(const struct share *share, struct share *out);
/* Committed bytes, in RAM or swapped. */
enum status os_memfd_resident(const struct share *share, uint64_t *bytes);
enum status os_memfd_size(const struct share *share, uint64_t *bytes);
/* The first `bytes`, shared; may reach beyond the end of the file, where an access is SIGBUS until
 * the file is grown. Give it back with os_memfd_unmap and the same size. */
enum status os_memfd_map(const struct share *share, uint64_t bytes, bool writable, void **out);
/* NULL is fine. */
void os_memfd_unmap(void *map, uint64_t bytes);

#endif
