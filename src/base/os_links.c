/*
 * os_links: a link to /proc/PID/fd/N is followed by the kernel to the open file itself, whatever
 * its name is or was, and opens it anew: the reader has an offset of his own, and no more rights
 * than the file's mode gives him.
 */
#include "base/os_links.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum status os_links_make(const char *prefix, struct os_links *out, struct problem *problem) {
  const char *runtime = getenv("XDG_RUNTIME_DIR");
  bool there = runtime && *runtime == '/' && access(runtime, W_OK | X_OK) == 0;
  struct os_links links;
  int n = snprintf(links.path, sizeof links.path, "%s/%s-XXXXXX", there ? runtime : "/tmp", prefix);
  if (n < 0 || (size_t)n >= sizeof links.path)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "XDG_RUNTIME_DIR is too long");
  if (!mkdtemp(links.path))
    return problem_set(problem, STATUS_INTERNAL_ERROR, "no folder %s: %s", links.path,
                       strerrordesc_np(errno));
  *out = links;
  return STATUS_OK;
}

bool os_links_remove(const struct os_links *links) {
  DIR *dir = opendir(links->path);
  for (const struct dirent *entry; dir && (entry = readdir(dir));)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      (void)unlinkat(dirfd(dir), entry->d_name, 0);
  if (dir)
    closedir(dir);
  return rmdir(links->path) == 0;
}

/* The path of a name in the folder. */
static bool join(const struct os_links *links, const char *name, char out[PATH_MAX]) {
  bool plain = *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
  int n = snprintf(out, PATH_MAX, "%s/%s", links->path, name);
  return plain && n > 0 && n < PATH_MAX;
}

static enum status link_to(const struct os_links *links, const char *name, const char *target) {
  char path[PATH_MAX];
  if (!join(links, name, path))
    return STATUS_INVALID_ARGUMENT;
  if (symlink(target, path) == 0)
    return STATUS_OK;
  return errno == EEXIST ? STATUS_CONFLICT : STATUS_INTERNAL_ERROR;
}

enum status os_links_share(const struct os_links *links, const char *name,
                           const struct share *share) {
  char target[64];
  snprintf(target, sizeof target, "/proc/%d/fd/%d", (int)getpid(), (int)share->value);
  return link_to(links, name, target);
}

bool os_links_readable(const struct os_links *links, const char *name) {
  char path[PATH_MAX];
  int fd = join(links, name, path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd >= 0)
    close(fd);
  return fd >= 0;
}

static bool ends_with_one(const char *name, const char *const *endings) {
  size_t n = strlen(name), m;
  for (; *endings; endings++)
    if ((m = strlen(*endings)) <= n && strcmp(name + n - m, *endings) == 0)
      return true;
  return false;
}

void os_links_beside(const struct os_links *links, const char *folder, const char *const *endings) {
  char target[PATH_MAX];
  struct stat facts;
  DIR *dir = opendir(folder);
  unsigned seen = 0;
  for (const struct dirent *entry; dir && (entry = readdir(dir)) && seen < OS_LINKS_BESIDE;) {
    const char *name = entry->d_name;
    int n = snprintf(target, sizeof target, "%s/%s", folder, name);
    if (*name == '.' || ends_with_one(name, endings) || n < 0 || (size_t)n >= sizeof target)
      continue;
    seen++;
    if (fstatat(dirfd(dir), name, &facts, 0) == 0 && S_ISREG(facts.st_mode))
      (void)link_to(links, name, target);
  }
  if (dir)
    closedir(dir);
}
