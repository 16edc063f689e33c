/*
 * os_file: a second descriptor of the same file, opened through /proc/self/fd, reads directly. What
 * the page cache has is asked of mincore on a mapping that nobody touches, because a read that may
 * not wait starts readahead on some kernels where it finds nothing; it is then read by such a read
 * all the same, for the pages may be gone by then, and a kernel that does not want to tell says
 * that all are there.
 *
 * A direct read needs its offset, address and size aligned; the few bytes before and after go
 * through the page cache. EINVAL from it is a file system that refuses: never asked again.
 */
#include "base/os_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"

#define RUN MIB           /* a cached run within a cold piece that is worth a read of its own */
#define LOOK (8 * MIB)    /* pages asked for in one call */
#define LOOK_PAGES 2048   /* the same in the smallest pages there are */
#define MOST (1024 * MIB) /* of one read; the kernel takes no more than 2 GiB */

struct os_file {
  int fd, direct; /* -1: no direct I/O */
  atomic_bool refuses;
  void *map; /* for mincore alone; NULL: not known what is cached */
  uint64_t map_bytes, page;
  atomic_uint_fast64_t cached, directly, buffered;
};

static void open_all(struct os_file *file, const struct stat *facts) {
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
  file->direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  file->page = (uint64_t)sysconf(_SC_PAGESIZE);
  file->map_bytes = (uint64_t)facts->st_size;
  void *map = file->map_bytes ? mmap(NULL, file->map_bytes, PROT_READ, MAP_SHARED, file->fd, 0)
                              : MAP_FAILED;
  file->map = map == MAP_FAILED ? NULL : map;
}

enum status os_file_open(const struct share *share, struct os_file **out) {
  struct stat facts;
  if (share->kind == SHARE_NONE || fstat((int)share->value, &facts) || !S_ISREG(facts.st_mode))
    return STATUS_INVALID_ARGUMENT;
  struct os_file *file = calloc(1, sizeof *file);
  if (!file)
    return STATUS_INTERNAL_ERROR;
  file->fd = (int)share->value;
  open_all(file, &facts);
  *out = file;
  return STATUS_OK;
}

void os_file_close(struct os_file *file) {
  if (!file)
    return;
  if (file->map)
    munmap(file->map, file->map_bytes);
  if (file->direct >= 0)
    close(file->direct);
  free(file);
}

static int64_t ns_of(struct timespec time) {
  return time.tv_sec * (int64_t)CLOCK_SECOND + time.tv_nsec;
}

enum status os_file_identify(const struct os_file *file, struct os_file_identity *out) {
  struct stat facts;
  if (fstat(file->fd, &facts))
    return STATUS_INTERNAL_ERROR;
  *out = (struct os_file_identity){.device = facts.st_dev,
                                   .inode = facts.st_ino,
                                   .size = (uint64_t)facts.st_size,
                                   .mtime_ns = ns_of(facts.st_mtim),
                                   .ctime_ns = ns_of(facts.st_ctim)};
  return STATUS_OK;
}

bool os_file_same(const struct os_file_identity *a, const struct os_file_identity *b) {
  return a->device == b->device && a->inode == b->inode && a->size == b->size &&
         a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

void os_file_figures(const struct os_file *file, struct os_file_figures *out) {
  *out = (struct os_file_figures){.cached_bytes = atomic_load(&file->cached),
                                  .direct_bytes = atomic_load(&file->directly),
                                  .buffered_bytes = atomic_load(&file->buffered)};
}

/* How many bytes from there on are in the page cache. */
static uint64_t cached_run(const struct os_file *file, uint64_t offset, uint64_t size) {
  unsigned char pages[LOOK_PAGES];
  uint64_t first = offset & ~(file->page - 1), known = units_minus(file->map_bytes, first);
  uint64_t look = units_min(units_min(LOOK, known), units_up(offset + size - first, file->page));
  if (!file->map || !look || mincore((char *)file->map + first, look, pages))
    return 0;
  uint64_t count = 0, all = units_up(look, file->page) / file->page;
  while (count < all && (pages[count] & 1))
    count++;
  return units_min(size, units_minus(first + count * file->page, offset));
}

static ssize_t counted(atomic_uint_fast64_t *figure, ssize_t n) {
  if (n > 0)
    atomic_fetch_add(figure, (uint_fast64_t)n);
  return n;
}

static ssize_t read_cached(struct os_file *file, const struct os_file_piece *piece) {
  uint64_t run = cached_run(file, piece->offset, piece->size);
  struct iovec part = {piece->to, run};
  if (!run || (run < piece->size && run < RUN))
    return 0;
  return counted(&file->cached, preadv2(file->fd, &part, 1, (off_t)piece->offset, RWF_NOWAIT));
}

static ssize_t read_buffered(struct os_file *file, const struct os_file_piece *piece,
                             uint64_t size) {
  ssize_t n = pread(file->fd, piece->to, units_min(size, MOST), (off_t)piece->offset);
  return counted(&file->buffered, n);
}

/* As pread: some of the piece. */
static ssize_t read_some(struct os_file *file, const struct os_file_piece *piece) {
  uint64_t skew = piece->offset % OS_FILE_ALIGN, whole = piece->size - piece->size % OS_FILE_ALIGN;
  ssize_t n = read_cached(file, piece);
  if (n > 0)
    return n;
  if (file->direct < 0 || atomic_load(&file->refuses) ||
      (uintptr_t)piece->to % OS_FILE_ALIGN != skew)
    return read_buffered(file, piece, piece->size);
  if (skew)
    return read_buffered(file, piece, units_min(piece->size, OS_FILE_ALIGN - skew));
  if (!whole)
    return read_buffered(file, piece, piece->size);
  n = pread(file->direct, piece->to, units_min(whole, MOST), (off_t)piece->offset);
  if (n >= 0 || errno != EINVAL)
    return counted(&file->directly, n);
  atomic_store(&file->refuses, true);
  return read_buffered(file, piece, piece->size);
}

static enum status refused(uint64_t offset, struct problem *problem) {
  if (errno == EFAULT || errno == ENOMEM)
    return problem_set(problem, STATUS_INSUFFICIENT_MEMORY,
                       "there is no memory for what the file has at %llu",
                       (unsigned long long)offset);
  return problem_set(problem, STATUS_INTERNAL_ERROR, "reading the file at %llu: %s",
                     (unsigned long long)offset, strerror(errno));
}

enum status os_file_read(struct os_file *file, const struct os_file_piece *piece,
                         struct problem *problem) {
  struct os_file_piece left = *piece;
  while (left.size) {
    ssize_t n = read_some(file, &left);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return refused(left.offset, problem);
    if (n == 0) {
      uint64_t end = left.offset + left.size;
      return problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                         "the file ends at %llu, before the %llu bytes it should have",
                         (unsigned long long)left.offset, (unsigned long long)end);
    }
    left.offset += (uint64_t)n;
    left.size -= (uint64_t)n;
    left.to = (char *)left.to + n;
  }
  return STATUS_OK;
}
