/*
 * os_file: a regular file that came as a descriptor, read at any offset by the way that is cheapest
 * for each piece: what the page cache has is taken from there, the rest comes by direct I/O, so
 * that a file larger than the RAM drives nothing out of it. Opens no path. One struct os_file may
 * be read by several threads at once.
 */
#ifndef BASE_OS_FILE_H
#define BASE_OS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/share.h"

#define OS_FILE_ALIGN                                                                              \
  4096 /* of offset and address for direct I/O; suits blocks of 512 and 4096                       \
        */

struct os_file;

/* Two equal ones: the same file, with the same bytes as far as the file system tells. */
struct os_file_identity {
  uint64_t device, inode, size;
  int64_t mtime_ns, ctime_ns;
};

/* How the bytes came, so far. */
struct os_file_figures {
  uint64_t cached_bytes, direct_bytes, buffered_bytes;
};

struct os_file_piece {
  uint64_t offset, size;
  void *to;
};

/* The share is borrowed and must stay open as long. Where it cannot be opened anew for direct I/O
 * all reads go through the page cache. INVALID_ARGUMENT: no regular file. INTERNAL_ERROR: no
 * memory. */
enum status os_file_open(const struct share *share, struct os_file **out);
/* NULL is fine. */
void os_file_close(struct os_file *file);
enum status os_file_identify(const struct os_file *file, struct os_file_identity *out);
bool os_file_same(const struct os_file_identity *a, const struct os_file_identity *b);
void os_file_figures(const struct os_file *file, struct os_file_figures *out);
/* All of the piece. Direct where offset and address have the same remainder by OS_FILE_ALIGN;
 * otherwise through the page cache. The target may be fresh mapped memory: what cannot be had is
 * an error, not SIGBUS. With a problem: MODEL_FORMAT_INVALID: the file ends before.
 * INSUFFICIENT_MEMORY: the target has no page there. INTERNAL_ERROR: the read failed. */
enum status os_file_read(struct os_file *file, const struct os_file_piece *piece,
                         struct problem *problem);

#endif
