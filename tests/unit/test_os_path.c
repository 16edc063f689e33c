/* Files that somebody named: what is opened, where, and what is refused. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

#include "base/os_path.h"

struct folder {
  char root[64], inside[96], outside[96];
  const char *roots[2];
};

static void put_file(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static int setup(void **state) {
  struct folder *f = calloc(1, sizeof *f);
  snprintf(f->root, sizeof f->root, "/tmp/memkeep-path-XXXXXX");
  assert_non_null(mkdtemp(f->root));
  snprintf(f->inside, sizeof f->inside, "%s/in", f->root);
  snprintf(f->outside, sizeof f->outside, "%s/in-between", f->root);
  assert_int_equal(mkdir(f->inside, 0700), 0);
  assert_int_equal(mkdir(f->outside, 0700), 0);
  f->roots[0] = f->inside;
  *state = f;
  return 0;
}

static int teardown(void **state) {
  struct folder *f = *state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", f->root);
  int status = system(command);
  free(f);
  return status;
}

static enum status open_path(const struct folder *f, const char *path, struct os_path_found *out) {
  struct problem problem = {0};
  enum status status = os_path_open(path, f->roots, out, &problem);
  if (status)
    assert_true(problem.text[0]);
  return status;
}

static const char *at(const char *folder, const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void a_file_is_opened_for_reading(void **state) {
  const struct folder *f = *state;
  struct os_path_found found;
  char bytes[8] = "";
  put_file(at(f->inside, "a.gguf"), "hello");
  assert_int_equal(open_path(f, at(f->inside, "a.gguf"), &found), STATUS_OK);
  assert_int_equal(read((int)found.share.value, bytes, sizeof bytes), 5);
  assert_string_equal(bytes, "hello");
  assert_int_equal(write((int)found.share.value, "x", 1), -1);
  assert_int_equal(found.identity.size, 5);
  assert_false(found.folder);
  assert_string_equal(found.path, at(f->inside, "a.gguf"));
  share_close(&found.share);
}

static void what_is_not_there_or_elsewhere_is_refused(void **state) {
  const struct folder *f = *state;
  struct os_path_found found;
  put_file(at(f->outside, "b"), "b");
  assert_int_equal(open_path(f, at(f->inside, "none"), &found), STATUS_MODEL_NOT_FOUND);
  assert_int_equal(open_path(f, at(f->inside, "none/b"), &found), STATUS_MODEL_NOT_FOUND);
  assert_int_equal(open_path(f, at(f->outside, "b"), &found), STATUS_FORBIDDEN);
  assert_int_equal(open_path(f, "in/b", &found), STATUS_INVALID_ARGUMENT);
  assert_int_equal(open_path(f, f->root, &found), STATUS_FORBIDDEN);
}

static void a_link_counts_where_it_leads(void **state) {
  const struct folder *f = *state;
  struct os_path_found found;
  char target[256];
  put_file(at(f->inside, "real"), "r");
  put_file(at(f->outside, "b"), "b");
  snprintf(target, sizeof target, "%s", at(f->outside, "b"));
  assert_int_equal(symlink("real", at(f->inside, "good")), 0);
  assert_int_equal(symlink(target, at(f->inside, "bad")), 0);
  assert_int_equal(symlink("loop", at(f->inside, "loop")), 0);
  assert_int_equal(open_path(f, at(f->inside, "good"), &found), STATUS_OK);
  assert_string_equal(found.path, at(f->inside, "real"));
  share_close(&found.share);
  assert_int_equal(open_path(f, at(f->inside, "bad"), &found), STATUS_FORBIDDEN);
  assert_int_equal(open_path(f, at(f->inside, "loop"), &found), STATUS_MODEL_NOT_FOUND);
}

/* Opening a pipe for reading would wait for a writer; opening a device has effects. */
static void what_is_no_file_is_not_opened(void **state) {
  const struct folder *f = *state;
  struct os_path_found found;
  struct problem problem;
  assert_int_equal(mkfifo(at(f->inside, "pipe"), 0600), 0);
  assert_int_equal(open_path(f, at(f->inside, "pipe"), &found), STATUS_MODEL_FORMAT_INVALID);
  assert_int_equal(os_path_open("/dev/zero", NULL, &found, &problem), STATUS_MODEL_FORMAT_INVALID);
}

static void a_folder_gives_its_files(void **state) {
  const struct folder *f = *state;
  static const char *const endings[] = {".gguf", ".safetensors", NULL};
  struct os_path_found folder, found;
  struct problem problem;
  char *names;
  uint32_t count;
  put_file(at(f->inside, "b.gguf"), "b");
  put_file(at(f->inside, "a.safetensors"), "aa");
  put_file(at(f->inside, "readme"), "r");
  put_file(at(f->inside, ".gguf"), "r");
  assert_int_equal(open_path(f, f->inside, &folder), STATUS_OK);
  assert_true(folder.folder);
  assert_int_equal(os_path_list(&folder, endings, 10, &names, &count), STATUS_OK);
  assert_int_equal(count, 2);
  assert_string_equal(names, "a.safetensors");
  assert_string_equal(names + strlen(names) + 1, "b.gguf");
  free(names);
  assert_int_equal(os_path_open_in(&folder, "b.gguf", f->roots, &found, &problem), STATUS_OK);
  assert_int_equal(found.identity.size, 1);
  share_close(&found.share);
  static const char *const bad[] = {"..", ".", "", "../in-between", "a/b"};
  for (unsigned i = 0; i < 5; i++)
    assert_int_equal(os_path_open_in(&folder, bad[i], f->roots, &found, &problem),
                     STATUS_MODEL_FORMAT_INVALID);
  share_close(&folder.share);
}

static void a_file_that_changed_is_another(void **state) {
  const struct folder *f = *state;
  struct os_path_found found;
  struct os_path_identity now;
  put_file(at(f->inside, "a"), "a");
  assert_int_equal(open_path(f, at(f->inside, "a"), &found), STATUS_OK);
  assert_int_equal(os_path_identify(&found.share, &now), STATUS_OK);
  assert_true(os_path_same(&found.identity, &now));
  put_file(at(f->inside, "a"), "longer");
  assert_int_equal(os_path_identify(&found.share, &now), STATUS_OK);
  assert_false(os_path_same(&found.identity, &now));
  share_close(&found.share);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(a_file_is_opened_for_reading), TEST(what_is_not_there_or_elsewhere_is_refused),
      TEST(a_link_counts_where_it_leads), TEST(what_is_no_file_is_not_opened),
      TEST(a_folder_gives_its_files),     TEST(a_file_that_changed_is_another),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
