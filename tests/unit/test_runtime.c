/* runtime: one daemon in a directory, as long as its process lives and not a moment longer. */
#include "daemon/runtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int setup(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/memkeep-runtime-XXXXXX");
  return !mkdtemp(folder);
}

static int teardown(void **state) {
  char path[96];
  (void)state;
  snprintf(path, sizeof path, "%s/memkeepd.lock", folder);
  unlink(path);
  return rmdir(folder);
}

/* Takes the directory in another process, which has a child of its own; it says its pid and waits
 * for a byte, or (last) ends at once while the child waits. */
static pid_t take_elsewhere(int say, int wait_for, bool last) {
  pid_t pid = fork();
  if (pid)
    return pid;
  struct runtime runtime;
  struct problem problem;
  char byte = runtime_take(folder, &runtime, &problem) ? 'n' : 'y';
  pid_t child = last ? fork() : 0;
  if (!child) {
    char end;
    byte = write(say, &byte, 1) == 1 && read(wait_for, &end, 1) == 1 ? byte : 'n';
  }
  _exit(byte == 'y' ? 0 : 1);
}

static void test_a_second_one_is_refused(void **state) {
  int said[2], go[2];
  char byte, pid_text[16];
  struct runtime runtime;
  struct problem problem;
  (void)state;
  assert_false(pipe(said) || pipe(go));
  pid_t pid = take_elsewhere(said[1], go[0], false);
  assert_int_equal(1, read(said[0], &byte, 1));
  assert_int_equal('y', byte);
  assert_int_equal(STATUS_CONFLICT, runtime_take(folder, &runtime, &problem));
  snprintf(pid_text, sizeof pid_text, "pid %d", (int)pid);
  assert_non_null(strstr(problem.text, pid_text));
  assert_int_equal(1, write(go[1], "", 1));
  waitpid(pid, NULL, 0);
  assert_int_equal(STATUS_OK, runtime_take(folder, &runtime, &problem));
  runtime_give(&runtime);
}

/* A daemon that is killed while it starts a worker leaves a child with all its descriptors. */
static void test_a_child_of_a_dead_one_does_not_hold_it(void **state) {
  int said[2], go[2];
  char byte;
  struct runtime runtime;
  struct problem problem;
  (void)state;
  assert_false(pipe(said) || pipe(go));
  waitpid(take_elsewhere(said[1], go[0], true), NULL, 0);
  assert_int_equal(1, read(said[0], &byte, 1));
  assert_int_equal('y', byte);
  assert_int_equal(STATUS_OK, runtime_take(folder, &runtime, &problem));
  runtime_give(&runtime);
  assert_int_equal(1, write(go[1], "", 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_a_second_one_is_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(test_a_child_of_a_dead_one_does_not_hold_it, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
