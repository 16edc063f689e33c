/* A folder of links: what a name leads to, which names are taken, and what is left at the end. */
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

#include "base/os_links.h"
#include "base/os_memfd.h"

struct there {
  char runtime[64];
  struct os_links links;
  struct share share;
};

static int setup(void **state) {
  struct there *there = calloc(1, sizeof *there);
  struct problem problem;
  snprintf(there->runtime, sizeof there->runtime, "/tmp/memkeep-links-XXXXXX");
  assert_non_null(mkdtemp(there->runtime));
  setenv("XDG_RUNTIME_DIR", there->runtime, 1);
  assert_int_equal(os_links_make("test", &there->links, &problem), STATUS_OK);
  assert_int_equal(os_memfd_create("test", 5, &there->share), STATUS_OK);
  assert_int_equal(pwrite((int)there->share.value, "hello", 5, 0), 5);
  *state = there;
  return 0;
}

static int teardown(void **state) {
  struct there *there = *state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", there->runtime);
  int status = system(command);
  share_close(&there->share);
  free(there);
  return status;
}

static const char *at(const char *folder, const char *name) {
  static char path[OS_LINKS_PATH + 64];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void put_file(const char *path) {
  int fd = open(path, O_CREAT | O_WRONLY, 0600);
  assert_true(fd >= 0);
  close(fd);
}

static void test_the_folder_is_in_the_runtime_directory_and_ours_alone(void **state) {
  struct there *there = *state;
  struct stat facts;
  assert_memory_equal(there->links.path, there->runtime, strlen(there->runtime));
  assert_int_equal(stat(there->links.path, &facts), 0);
  assert_int_equal(facts.st_mode & 07777, 0700);
}

static void test_a_runtime_directory_that_is_not_there_does_not_matter(void **state) {
  struct os_links links;
  struct problem problem;
  (void)state;
  setenv("XDG_RUNTIME_DIR", "/nowhere/at/all", 1);
  assert_int_equal(os_links_make("test", &links, &problem), STATUS_OK);
  assert_memory_equal(links.path, "/tmp/", 5);
  assert_true(os_links_remove(&links));
}

static void test_a_name_reads_as_what_is_open(void **state) {
  struct there *there = *state;
  char text[8] = "";
  assert_int_equal(os_links_share(&there->links, "five", &there->share), STATUS_OK);
  assert_true(os_links_readable(&there->links, "five"));
  int fd = open(at(there->links.path, "five"), O_RDONLY);
  assert_int_equal(read(fd, text, sizeof text), 5);
  assert_string_equal(text, "hello");
  close(fd);
  share_close(&there->share);
  assert_false(os_links_readable(&there->links, "five"));
}

static void test_only_plain_names_and_each_once(void **state) {
  struct there *there = *state;
  static const char *const bad[] = {"", ".", "..", "a/b", "/a", "../a"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(os_links_share(&there->links, bad[i], &there->share), STATUS_INVALID_ARGUMENT);
  assert_int_equal(os_links_share(&there->links, "a", &there->share), STATUS_OK);
  assert_int_equal(os_links_share(&there->links, "a", &there->share), STATUS_CONFLICT);
}

static void test_what_lies_beside_comes_but_for_endings_and_names_that_are_there(void **state) {
  struct there *there = *state;
  static const char *const endings[] = {".bin", NULL};
  static const char *const none[] = {"weights.bin", ".hidden", "folder"};
  put_file(at(there->runtime, "config.json"));
  put_file(at(there->runtime, "five"));
  put_file(at(there->runtime, "weights.bin"));
  put_file(at(there->runtime, ".hidden"));
  assert_int_equal(mkdir(at(there->runtime, "folder"), 0700), 0);
  assert_int_equal(os_links_share(&there->links, "five", &there->share), STATUS_OK);
  os_links_beside(&there->links, there->runtime, endings);
  os_links_beside(&there->links, "/nowhere/at/all", endings);
  struct stat facts;
  assert_true(os_links_readable(&there->links, "config.json"));
  assert_int_equal(stat(at(there->links.path, "five"), &facts), 0);
  assert_int_equal(facts.st_size, 5);
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    assert_int_not_equal(lstat(at(there->links.path, none[i]), &facts), 0);
}

static void test_it_goes_with_all_files_and_none_that_they_lead_to(void **state) {
  struct there *there = *state;
  static const char *const endings[] = {NULL};
  put_file(at(there->runtime, "config.json"));
  os_links_beside(&there->links, there->runtime, endings);
  put_file(at(there->links.path, "made"));
  assert_int_equal(mkdir(at(there->links.path, "folder"), 0700), 0);
  assert_false(os_links_remove(&there->links));
  assert_int_equal(rmdir(at(there->links.path, "folder")), 0);
  assert_true(os_links_remove(&there->links));
  assert_int_equal(access(at(there->runtime, "config.json"), F_OK), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_the_folder_is_in_the_runtime_directory_and_ours_alone),
      TEST(test_a_runtime_directory_that_is_not_there_does_not_matter),
      TEST(test_a_name_reads_as_what_is_open),
      TEST(test_only_plain_names_and_each_once),
      TEST(test_what_lies_beside_comes_but_for_endings_and_names_that_are_there),
      TEST(test_it_goes_with_all_files_and_none_that_they_lead_to),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
