/*
 * os_folder: as the XDG base directory specification has it; a relative path there is invalid and
 * passed over.
 */
#include "base/os_folder.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status make_one(const char *path) {
  struct stat found;
  if (!mkdir(path, 0700))
    return STATUS_OK;
  if (errno == EACCES || errno == EPERM || errno == EROFS) {
    enum status refused = STATUS_FORBIDDEN;
    return !stat(path, &found) && S_ISDIR(found.st_mode) ? STATUS_OK : refused;
  }
  if (errno != EEXIST)
    return errno == ENOTDIR ? STATUS_CONFLICT : STATUS_INTERNAL_ERROR;
  return !stat(path, &found) && S_ISDIR(found.st_mode) ? STATUS_OK : STATUS_CONFLICT;
}

enum status os_folder_make(const char *path) {
  char part[PATH_MAX];
  size_t n = strlen(path);
  if (n >= sizeof part)
    return STATUS_INVALID_ARGUMENT;
  for (size_t i = 1; i <= n; i++) {
    if (path[i] && path[i] != '/')
      continue;
    memcpy(part, path, i);
    part[i] = '\0';
    enum status status = make_one(part);
    if (status)
      return status;
  }
  return STATUS_OK;
}

enum status os_folder_state(char *out, size_t size) {
  const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
  int n = -1;
  if (geteuid() == 0)
    n = snprintf(out, size, "/var/lib/memkeep");
  else if (state && *state == '/')
    n = snprintf(out, size, "%s/memkeep", state);
  else if (home && *home == '/')
    n = snprintf(out, size, "%s/.local/state/memkeep", home);
  return n > 0 && (size_t)n < size ? STATUS_OK : STATUS_INVALID_ARGUMENT;
}
