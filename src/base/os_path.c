/*
 * os_path: first a descriptor that is good for nothing (O_PATH: opening a device or a pipe has
 * effects), which is asked what it is and where it really lies; then the same thing opened anew for
 * reading through /proc/self/fd, so that nobody can put something else in its place in between.
 */
#include "base/os_path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status not_opened(const char *path, struct problem *problem) {
  switch (errno) {
  case ENOENT:
  case ENOTDIR:
    return problem_set(problem, STATUS_MODEL_NOT_FOUND, "there is no file %.200s", path);
  case EACCES:
  case EPERM:
    return problem_set(problem, STATUS_FORBIDDEN, "the daemon may not read %.200s", path);
  case ELOOP:
    return problem_set(problem, STATUS_MODEL_NOT_FOUND,
                       "there is no file %.200s: its symbolic links go round in a circle", path);
  case ENAMETOOLONG:
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%.200s: %s", path, strerror(errno));
  default:
    return problem_set(problem, STATUS_INTERNAL_ERROR, "%.200s: %s", path, strerror(errno));
  }
}

static bool lies_in(const char *path, const char *const *roots) {
  if (!roots)
    return true;
  for (; *roots; roots++) {
    size_t n = strlen(*roots);
    while (n > 1 && (*roots)[n - 1] == '/')
      n--;
    if (!strncmp(path, *roots, n) && (n == 1 || path[n] == '/' || !path[n]))
      return true;
  }
  return false;
}

static void identity_of(const struct stat *facts, struct os_path_identity *out) {
  *out = (struct os_path_identity){.device = facts->st_dev,
                                   .inode = facts->st_ino,
                                   .size = (uint64_t)facts->st_size,
                                   .modified_ns = (uint64_t)facts->st_mtim.tv_sec * 1000000000 +
                                                  (uint64_t)facts->st_mtim.tv_nsec,
                                   .changed_ns = (uint64_t)facts->st_ctim.tv_sec * 1000000000 +
                                                 (uint64_t)facts->st_ctim.tv_nsec};
}

/* What the descriptor is and where; the link's text is the kernel's name of it. */
static enum status judge(int fd, const char *const *roots, struct os_path_found *found,
                         struct problem *problem) {
  char link[64];
  struct stat facts;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, found->path, sizeof found->path - 1);
  if (n < 0 || fstat(fd, &facts))
    return problem_set(problem, STATUS_INTERNAL_ERROR, "a file cannot be looked at: %s",
                       strerror(errno));
  found->path[n] = '\0';
  if (!lies_in(found->path, roots))
    return problem_set(problem, STATUS_FORBIDDEN,
                       "%.200s is in none of the folders that models may be read from (model_dirs)",
                       found->path);
  if (!S_ISREG(facts.st_mode) && !S_ISDIR(facts.st_mode))
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                       "%.200s is neither a file nor a folder", found->path);
  found->folder = S_ISDIR(facts.st_mode);
  identity_of(&facts, &found->identity);
  return STATUS_OK;
}

static enum status open_at(int folder, const char *name, const char *const *roots,
                           struct os_path_found *out, struct problem *problem) {
  struct os_path_found found = {0};
  char link[64];
  int fd = openat(folder, name, O_PATH | O_CLOEXEC);
  if (fd < 0)
    return not_opened(name, problem);
  enum status status = judge(fd, roots, &found, problem);
  if (!status) {
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    found.share = (struct share){
        SHARE_FILE, open(link, O_RDONLY | O_CLOEXEC | (found.folder ? O_DIRECTORY : O_NOCTTY))};
    if (found.share.value < 0)
      status = not_opened(found.path, problem);
    else
      *out = found;
  }
  close(fd);
  return status;
}

enum status os_path_open(const char *path, const char *const *roots, struct os_path_found *out,
                         struct problem *problem) {
  if (path[0] != '/')
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "path", "the path must be absolute");
  return open_at(AT_FDCWD, path, roots, out, problem);
}

enum status os_path_open_in(const struct os_path_found *folder, const char *name,
                            const char *const *roots, struct os_path_found *out,
                            struct problem *problem) {
  if (!name[0] || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID, "%.200s is no plain file name", name);
  enum status status = open_at((int)folder->share.value, name, roots, out, problem);
  if (!status && out->folder) {
    share_close(&out->share);
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID, "%.200s is a folder", name);
  }
  return status;
}

static bool ends_so(const char *name, const char *const *endings) {
  size_t n = strlen(name);
  for (; *endings; endings++) {
    size_t m = strlen(*endings);
    if (n > m && !strcmp(name + n - m, *endings))
      return true;
  }
  return false;
}

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the folder into list[max]; how many, or -1: no memory. */
static int collect(DIR *dir, const char *const *endings, uint32_t max, char **list) {
  int count = 0;
  for (const struct dirent *entry; (entry = readdir(dir)) && (uint32_t)count < max;) {
    if (!ends_so(entry->d_name, endings))
      continue;
    list[count] = strdup(entry->d_name);
    if (!list[count])
      return -1;
    count++;
  }
  return count;
}

static enum status join(char *const *list, uint32_t count, char **names) {
  size_t n = 1;
  for (uint32_t i = 0; i < count; i++)
    n += strlen(list[i]) + 1;
  char *all = malloc(n), *end = all;
  if (!all)
    return STATUS_INTERNAL_ERROR;
  for (uint32_t i = 0; i < count; i++)
    end = stpcpy(end, list[i]) + 1;
  *end = '\0';
  *names = all;
  return STATUS_OK;
}

enum status os_path_list(const struct os_path_found *folder, const char *const *endings,
                         uint32_t max, char **names, uint32_t *count) {
  int fd = openat((int)folder->share.value, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  char **list = calloc((size_t)max + 1, sizeof *list);
  int found = dir && list ? collect(dir, endings, max, list) : -1;
  enum status status = STATUS_INTERNAL_ERROR;
  if (found >= 0) {
    qsort(list, (size_t)found, sizeof *list, by_text);
    status = join(list, (uint32_t)found, names);
  }
  if (!status)
    *count = (uint32_t)found;
  for (uint32_t i = 0; list && i < max && list[i]; i++)
    free(list[i]);
  free(list);
  if (dir)
    closedir(dir);
  else if (fd >= 0)
    close(fd);
  return status;
}

enum status os_path_identify(const struct share *share, struct os_path_identity *out) {
  struct stat facts;
  if (fstat((int)share->value, &facts) || !S_ISREG(facts.st_mode))
    return STATUS_INTERNAL_ERROR;
  identity_of(&facts, out);
  return STATUS_OK;
}

bool os_path_same(const struct os_path_identity *a, const struct os_path_identity *b) {
  return a->device == b->device && a->inode == b->inode && a->size == b->size &&
         a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns;
}
