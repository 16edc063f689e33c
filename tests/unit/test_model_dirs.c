/* model_dirs: the configured folders as they really are, else home and the working directory. */
#include "daemon/model_dirs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
  char folder[64], link[80], before[1024];
  struct config *config;
  struct model_dirs dirs;
};

static int setup(void **state) {
  struct fixture *fixture = calloc(1, sizeof *fixture);
  log_set_level(LOG_LEVEL_ERROR);
  fixture->config = calloc(1, sizeof *fixture->config);
  snprintf(fixture->folder, sizeof fixture->folder, "/tmp/test_model_dirs-XXXXXX");
  assert_non_null(mkdtemp(fixture->folder));
  snprintf(fixture->link, sizeof fixture->link, "%s/link", fixture->folder);
  assert_int_equal(symlink(fixture->folder, fixture->link), 0);
  assert_non_null(getcwd(fixture->before, sizeof fixture->before));
  *state = fixture;
  return 0;
}

static int teardown(void **state) {
  struct fixture *fixture = *state;
  model_dirs_done(&fixture->dirs);
  assert_int_equal(chdir(fixture->before), 0);
  unlink(fixture->link);
  rmdir(fixture->folder);
  free(fixture->config);
  free(fixture);
  return 0;
}

static void configure(struct fixture *fixture, const char *path) {
  struct config *config = fixture->config;
  snprintf(config->model_dirs[config->model_dir_count++], CONFIG_PATH, "%s", path);
}

static void links_are_followed_and_folders_are_there_once(void **state) {
  struct fixture *fixture = *state;
  configure(fixture, fixture->link);
  configure(fixture, fixture->folder);
  assert_int_equal(model_dirs_init(&fixture->dirs, fixture->config), STATUS_OK);
  assert_int_equal(fixture->dirs.count, 1);
  assert_string_equal(fixture->dirs.paths[0], fixture->folder);
  assert_null(fixture->dirs.paths[1]);
}

static void one_that_is_not_there_may_come(void **state) {
  struct fixture *fixture = *state;
  configure(fixture, "/nowhere/models");
  assert_int_equal(model_dirs_init(&fixture->dirs, fixture->config), STATUS_OK);
  assert_string_equal(fixture->dirs.paths[0], "/nowhere/models");
}

static void home_and_here_unless_it_was_said(void **state) {
  struct fixture *fixture = *state;
  setenv("HOME", fixture->link, 1);
  assert_int_equal(chdir("/tmp"), 0);
  assert_int_equal(model_dirs_init(&fixture->dirs, fixture->config), STATUS_OK);
  assert_int_equal(fixture->dirs.count, 2);
  assert_string_equal(fixture->dirs.paths[0], fixture->folder);
  assert_string_equal(fixture->dirs.paths[1], "/tmp");
}

static void everything_is_never_meant(void **state) {
  struct fixture *fixture = *state;
  setenv("HOME", "/", 1);
  assert_int_equal(chdir("/"), 0);
  assert_int_equal(model_dirs_init(&fixture->dirs, fixture->config), STATUS_OK);
  assert_int_equal(fixture->dirs.count, 0);
  assert_null(fixture->dirs.paths[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(links_are_followed_and_folders_are_there_once),
      TEST(one_that_is_not_there_may_come),
      TEST(home_and_here_unless_it_was_said),
      TEST(everything_is_never_meant),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
