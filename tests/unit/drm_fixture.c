#include "drm_fixture.h"

#include <ftw.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void path_of(const char *path, char out[512]) {
  snprintf(out, 512, "/tmp/drm_fixture.%d/%s", (int)getpid(), path);
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *where) {
  (void)stat;
  (void)kind;
  (void)where;
  return remove(path);
}

void drm_fixture_remove(const char *path) {
  char whole[512];
  path_of(path, whole);
  (void)nftw(whole, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int drm_fixture_done(void **state) {
  (void)state;
  drm_fixture_remove("");
  unsetenv("MEMKEEP_DRM");
  return 0;
}

void drm_fixture_use(const char *tree) {
  char self[200] = "", path[300];
  (void)drm_fixture_done(NULL);
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
    abort();
  snprintf(path, sizeof path, "%s/../../tests/drm/%s", dirname(self), tree);
  setenv("MEMKEEP_DRM", path, 1);
}

void drm_fixture_make(void) {
  char path[512];
  (void)drm_fixture_done(NULL);
  path_of("", path);
  if (mkdir(path, 0700))
    abort();
  setenv("MEMKEEP_DRM", path, 1);
}

static void make_above(char *path) {
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    (void)mkdir(path, 0700);
    *slash = '/';
  }
}

void drm_fixture_file(const char *path, const char *text) {
  char whole[512];
  path_of(path, whole);
  make_above(whole);
  FILE *file = fopen(whole, "we");
  if (!file || fputs(text, file) < 0 || fclose(file))
    abort();
}

void drm_fixture_link(const char *path, const char *target) {
  char whole[512];
  path_of(path, whole);
  make_above(whole);
  (void)unlink(whole);
  if (symlink(target, whole))
    abort();
}
