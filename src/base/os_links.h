/*
 * os_links: a private folder of symbolic links, so that a program that wants names of files can be
 * given what is no file. One thread.
 */
#ifndef BASE_OS_LINKS_H
#define BASE_OS_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/share.h"

#define OS_LINKS_PATH 512    /* of the folder, with the NUL */
#define OS_LINKS_BESIDE 1024 /* entries that os_links_beside takes over */

struct os_links {
  char path[OS_LINKS_PATH];
};

/* A new folder for this user alone, in $XDG_RUNTIME_DIR, else in /tmp. Its name begins with
 * `prefix`. The problem says why not. */
enum status os_links_make(const char *prefix, struct os_links *out, struct problem *problem);
/* The folder with all that is in it, links or files, but for folders that somebody made there.
 * False: something is left. */
bool os_links_remove(const struct os_links *links);

/* A name for what the share is, valid for as long as this process keeps the share open. It is
 * opened anew by whoever follows the link, with his own rights and at offset 0.
 * INVALID_ARGUMENT: no plain name. CONFLICT: the name is there already. INTERNAL_ERROR. */
enum status os_links_share(const struct os_links *links, const char *name,
                           const struct share *share);
/* Whether this user may read what the name leads to. */
bool os_links_readable(const struct os_links *links, const char *name);
/* Names for the regular files in an absolute folder, unless they are hidden, have a name that is
 * there already or one of these endings (NULL-terminated). Nothing where it cannot be listed. */
void os_links_beside(const struct os_links *links, const char *folder, const char *const *endings);

#endif
