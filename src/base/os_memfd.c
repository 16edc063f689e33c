/*
 * os_memfd: one system call per function, and one place that says what an errno means. The mode is
 * 0600 because /proc/PID/fd would otherwise let every user open it. A write seal is the FUTURE one:
 * before Linux 6.7 the plain one also refuses read-only shared maps of a writable descriptor.
 */
#include "base/os_memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os_pages.h"
#include "base/units.h"

#define BLOCK 512 /* unit of st_blocks, whatever the file system */

static const struct {
  unsigned seal;
  int kernels;
} seal_bits[] = {
    {OS_MEMFD_SEAL_SHRINK, F_SEAL_SHRINK},
    {OS_MEMFD_SEAL_GROW, F_SEAL_GROW},
    {OS_MEMFD_SEAL_WRITE, F_SEAL_FUTURE_WRITE},
    {OS_MEMFD_SEAL_FINAL, F_SEAL_SEAL},
};

static int kernels_seals(unsigned seals) {
  int bits = 0;
  for (size_t i = 0; i < sizeof seal_bits / sizeof *seal_bits; i++)
    if (seals & seal_bits[i].seal)
      bits |= seal_bits[i].kernels;
  return bits;
}

static enum status status_of(int error) {
  switch (error) {
  case ENOMEM:
  case ENOSPC:
  case EFBIG:
    return STATUS_INSUFFICIENT_MEMORY;
  case EPERM:
    return STATUS_CONFLICT;
  default:
    return STATUS_INTERNAL_ERROR;
  }
}

enum status os_memfd_create(const char *name, uint64_t size_bytes, struct share *out) {
  if (size_bytes > INT64_MAX)
    return STATUS_INSUFFICIENT_MEMORY;
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0)
    return status_of(errno);
  if (fchmod(fd, 0600) || ftruncate(fd, (off_t)size_bytes)) {
    enum status status = status_of(errno);
    close(fd);
    return status;
  }
  *out = (struct share){.kind = SHARE_MEMFD, .value = fd};
  return STATUS_OK;
}

enum status os_memfd_seal(const struct share *share, unsigned seals) {
  return fcntl((int)share->value, F_ADD_SEALS, kernels_seals(seals)) ? status_of(errno) : STATUS_OK;
}

bool os_memfd_is_sealed(const struct share *share, unsigned seals) {
  int have = fcntl((int)share->value, F_GET_SEALS), want = kernels_seals(seals);
  return have >= 0 && (have & want) == want;
}

static enum status allocate(const struct share *share, int mode, uint64_t offset, uint64_t bytes) {
  int result;
  do
    result = fallocate((int)share->value, mode, (off_t)offset, (off_t)bytes);
  while (result && errno == EINTR);
  return result ? status_of(errno) : STATUS_OK;
}

/* Pages that are allocated are of 4 KiB, and cleared by whoever touches them first; those of a
 * mapping may be huge. Nothing is read or written here, and what cannot be made is left. */
static void make_huge(const struct share *share, uint64_t offset, uint64_t bytes) {
  uint64_t start = units_up(offset, OS_PAGES_HUGE),
           end = (offset + bytes) / OS_PAGES_HUGE * OS_PAGES_HUGE;
  if (start >= end || !os_pages_huge_if_asked())
    return;
  void *pages =
      mmap(NULL, end - start, PROT_READ | PROT_WRITE, MAP_SHARED, (int)share->value, (off_t)start);
  if (pages == MAP_FAILED)
    return;
  os_pages_prefer_huge(pages, end - start);
  (void)os_pages_make(pages, end - start);
  os_pages_release(pages, end - start);
}

enum status os_memfd_commit(const struct share *share, uint64_t offset, uint64_t bytes) {
  make_huge(share, offset, bytes);
  return allocate(share, 0, offset, bytes);
}

enum status os_memfd_punch(const struct share *share, uint64_t offset, uint64_t bytes) {
  return allocate(share, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes);
}

enum status os_memfd_read_only(const struct share *share, struct share *out) {
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", (int)share->value);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return status_of(errno);
  *out = (struct share){.kind = SHARE_MEMFD, .value = fd};
  return STATUS_OK;
}

enum status os_memfd_resident(const struct share *share, uint64_t *bytes) {
  struct stat facts;
  if (fstat((int)share->value, &facts))
    return status_of(errno);
  *bytes = (uint64_t)facts.st_blocks * BLOCK;
  return STATUS_OK;
}

enum status os_memfd_size(const struct share *share, uint64_t *bytes) {
  struct stat facts;
  if (fstat((int)share->value, &facts))
    return status_of(errno);
  *bytes = (uint64_t)facts.st_size;
  return STATUS_OK;
}

enum status os_memfd_map(const struct share *share, uint64_t bytes, bool writable, void **out) {
  int access = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void *map = mmap(NULL, bytes, access, MAP_SHARED, (int)share->value, 0);
  if (map == MAP_FAILED)
    return errno == ENOMEM ? STATUS_INTERNAL_ERROR : status_of(errno);
  *out = map;
  return STATUS_OK;
}

void os_memfd_unmap(void *map, uint64_t bytes) {
  if (map)
    munmap(map, bytes);
}
