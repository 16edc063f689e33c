/* share: copies are independent, close-on-exec, and closing gives the fd back. */
#include "base/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static struct share memory(void) {
  int fd = memfd_create("test_share", MFD_CLOEXEC);
  assert_true(fd >= 0);
  return (struct share){SHARE_MEMFD, fd};
}

static void every_kind_reads_back(void **state) {
  (void)state;
  for (int i = SHARE_NONE; i <= SHARE_FILE; i++)
    assert_int_equal(share_kind_parse(share_kind_name((enum share_kind)i)), i);
  assert_string_equal(share_kind_name(SHARE_CUDA_VMM), "cuda-vmm");
}

static void a_foreign_kind_is_none(void **state) {
  (void)state;
  assert_string_equal(share_kind_name((enum share_kind)99), "none");
  assert_int_equal(share_kind_parse("memfds"), SHARE_NONE);
  assert_int_equal(share_kind_parse(NULL), SHARE_NONE);
}

static void a_copy_outlives_its_source(void **state) {
  (void)state;
  struct share share = memory(), copy;
  assert_int_equal(pwrite((int)share.value, "memkeep", 7, 0), 7);
  assert_int_equal(share_copy(&share, &copy), STATUS_OK);
  share_close(&share);
  char text[8] = "";
  assert_int_equal(pread((int)copy.value, text, 7, 0), 7);
  assert_string_equal(text, "memkeep");
  assert_int_equal(copy.kind, SHARE_MEMFD);
  assert_true(fcntl((int)copy.value, F_GETFD) & FD_CLOEXEC);
  share_close(&copy);
}

static void close_gives_the_fd_back_once(void **state) {
  (void)state;
  struct share share = memory();
  int fd = (int)share.value;
  share_close(&share);
  assert_int_equal(share.kind, SHARE_NONE);
  assert_int_equal(fcntl(fd, F_GETFD), -1);
  assert_int_equal(errno, EBADF);
  share_close(&share);
}

static void none_is_copied_and_closed_without_an_fd(void **state) {
  (void)state;
  struct share none = {SHARE_NONE, 0}, copy = {SHARE_FILE, 77};
  assert_int_equal(share_copy(&none, &copy), STATUS_OK);
  assert_int_equal(copy.kind, SHARE_NONE);
  share_close(&none);
  assert_true(fcntl(0, F_GETFD) >= 0);
}

static void out_of_fds_leaves_the_result_alone(void **state) {
  (void)state;
  struct share share = memory(), copy = {SHARE_FILE, 77};
  struct rlimit before, tight;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  tight = before;
  tight.rlim_cur = 3;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
  enum status status = share_copy(&share, &copy);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  assert_int_equal(status, STATUS_INTERNAL_ERROR);
  assert_int_equal(copy.kind, SHARE_FILE);
  assert_int_equal(copy.value, 77);
  share_close(&share);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kind_reads_back),
      cmocka_unit_test(a_foreign_kind_is_none),
      cmocka_unit_test(a_copy_outlives_its_source),
      cmocka_unit_test(close_gives_the_fd_back_once),
      cmocka_unit_test(none_is_copied_and_closed_without_an_fd),
      cmocka_unit_test(out_of_fds_leaves_the_result_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
