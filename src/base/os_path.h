/*
 * os_path: a file that somebody named, opened for reading without an effect on anything that is no
 * file, and only where that is allowed. Thread-safe; system calls that may take long (a network
 * file system): never under a lock, nor on a thread that others wait for.
 */
#ifndef BASE_OS_PATH_H
#define BASE_OS_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/share.h"

#define OS_PATH_MAX 4096 /* with the NUL: PATH_MAX */

/* Which file it is, and in which state. */
struct os_path_identity {
  uint64_t device, inode, size, modified_ns, changed_ns;
};

struct os_path_found {
  struct share share; /* of a regular file, for reading; of a folder, for os_path_open_in. The
                         caller's to close */
  bool folder;
  char path[OS_PATH_MAX]; /* where it really is */
  struct os_path_identity identity;
};

/* Opens what an absolute path names, symbolic links followed, when it really lies in one of `roots`
 * (absolute; NULL: anywhere). MODEL_NOT_FOUND: there is nothing, or links in a circle; FORBIDDEN:
 * it lies elsewhere, or we may not read it; MODEL_FORMAT_INVALID: neither a regular file nor a
 * folder; INVALID_ARGUMENT: not absolute, or too long; INTERNAL_ERROR: no descriptors. */
enum status os_path_open(const char *path, const char *const *roots, struct os_path_found *out,
                         struct problem *problem);
/* The same for a plain name in a folder that was opened so. */
enum status os_path_open_in(const struct os_path_found *folder, const char *name,
                            const char *const *roots, struct os_path_found *out,
                            struct problem *problem);
/* The names in a folder that end in one of `endings` (NULL-terminated), sorted, NUL-terminated one
 * after another, malloced. No more than `max`. INTERNAL_ERROR: no memory, or it cannot be read. */
enum status os_path_list(const struct os_path_found *folder, const char *const *endings,
                         uint32_t max, char **names, uint32_t *count);
/* Of an open file. */
enum status os_path_identify(const struct share *share, struct os_path_identity *out);
bool os_path_same(const struct os_path_identity *a, const struct os_path_identity *b);

#endif
