/* os_psi: where there is nothing to watch it says so, and leaves nothing behind. */
#include "base/os_psi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

static int first_free_fd(void) {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  close(fd);
  return fd;
}

static void fired(void *arg) { (void)arg; }

static enum status watch(struct loop *loop, const char *path, struct os_psi **out) {
  return os_psi_watch(loop, &(struct os_psi_params){path, OS_PSI_SOME, fired, NULL}, out);
}

static void a_kernel_without_figures_is_no_error(void **state) {
  struct os_psi *psi = NULL;
  int before = first_free_fd();
  assert_int_equal(STATUS_NOT_FOUND, watch(*state, "/proc/pressure/nothing", &psi));
  assert_null(psi);
  assert_int_equal(before, first_free_fd());
}

static void a_file_that_is_none_of_the_kernels_is_refused(void **state) {
  char path[] = "/tmp/memkeep-test-psi-XXXXXX";
  struct os_psi *psi = NULL;
  close(mkstemp(path));
  int before = first_free_fd();
  assert_int_not_equal(STATUS_OK, watch(*state, path, &psi));
  assert_int_equal(before, first_free_fd());
  unlink(path);
}

static void the_kernels_own_is_watched_where_it_is_there(void **state) {
  struct os_psi *psi = NULL;
  enum status status = watch(*state, OS_PSI_MEMORY, &psi);
  assert_true(status == STATUS_OK || status == STATUS_NOT_FOUND);
  os_psi_free(psi);
}

static int setup(void **state) { return loop_create((struct loop **)state); }

static int teardown(void **state) {
  loop_free(*state);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_kernel_without_figures_is_no_error, setup, teardown),
      cmocka_unit_test_setup_teardown(a_file_that_is_none_of_the_kernels_is_refused, setup,
                                      teardown),
      cmocka_unit_test_setup_teardown(the_kernels_own_is_watched_where_it_is_there, setup,
                                      teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
