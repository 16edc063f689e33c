/* os_proc: the kernel's figures, against processes of our own whose figures we make. */
#include "base/os_proc.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/units.h"

#define BIG (64 * MIB)

/* A child with `bytes` of memory in use and a name, that waits to be killed. */
static pid_t start_child(const char *name, size_t bytes) {
  int ready[2];
  assert_int_equal(0, pipe(ready));
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (!pid) {
    prctl(PR_SET_NAME, name);
    char *memory = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED || write(ready[1], "x", 1) != 1)
      _exit(1);
    for (;;)
      pause();
  }
  char byte;
  close(ready[1]);
  assert_int_equal(1, read(ready[0], &byte, 1));
  close(ready[0]);
  return pid;
}

static void end_child(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

static void memory_is_what_the_host_has(void **state) {
  (void)state;
  struct os_proc_memory memory;
  assert_int_equal(STATUS_OK, os_proc_memory(&memory));
  uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES), page = (uint64_t)sysconf(_SC_PAGESIZE);
  assert_true(memory.total_bytes > 0);
  assert_true(memory.total_bytes <= pages * page); /* less in a container that says so */
  assert_true(memory.available_bytes > 0);
  assert_true(memory.available_bytes < memory.total_bytes);
}

static void pressure_is_told_where_the_kernel_knows_it(void **state) {
  (void)state;
  struct os_proc_pressure pressure = {77777, 77777};
  enum status status = os_proc_pressure(&pressure);
  if (access("/proc/pressure/memory", R_OK)) {
    assert_int_equal(STATUS_NOT_FOUND, status);
    assert_int_equal(77777, pressure.some_avg10);
    return;
  }
  assert_int_equal(STATUS_OK, status);
  assert_true(pressure.some_avg10 <= 10000);
  assert_true(pressure.full_avg10 <= pressure.some_avg10);
}

static void resident_bytes_are_those_in_use(void **state) {
  (void)state;
  uint64_t small = 0, large = 0;
  pid_t one = start_child("one", 0), two = start_child("two", BIG);
  assert_int_equal(STATUS_OK, os_proc_resident(one, &small));
  assert_int_equal(STATUS_OK, os_proc_resident(two, &large));
  end_child(one);
  end_child(two);
  assert_true(small > 0);
  assert_true(large >= BIG);
  assert_true(large - small > BIG / 2);
}

static void a_process_that_is_not_there_is_not_found(void **state) {
  (void)state;
  pid_t pid = start_child("gone", 0);
  end_child(pid);
  const pid_t none[] = {pid, 0, -1, 2147483647};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    uint64_t bytes = 77;
    char name[OS_PROC_NAME] = "untouched";
    assert_int_equal(STATUS_NOT_FOUND, os_proc_resident(none[i], &bytes));
    assert_int_equal(STATUS_NOT_FOUND, os_proc_name(none[i], name, sizeof name));
    assert_int_equal(77, bytes);
    assert_string_equal("untouched", name);
  }
}

static void assert_name(const char *given, const char *expected, size_t size) {
  char name[OS_PROC_NAME];
  pid_t pid = start_child(given, 0);
  enum status status = os_proc_name(pid, name, size);
  end_child(pid);
  assert_int_equal(STATUS_OK, status);
  assert_string_equal(expected, name);
}

static void a_name_is_told_byte_by_byte(void **state) {
  (void)state;
  assert_name("fifteen bytes !", "fifteen bytes !", OS_PROC_NAME);
  assert_name("", "", OS_PROC_NAME);
  assert_name(") R 1 (", ") R 1 (", OS_PROC_NAME);
  assert_name("two\nlines\n", "two\nlines\n", OS_PROC_NAME);
  assert_name("\xff\x01", "\xff\x01", OS_PROC_NAME);
  assert_name("fifteen bytes !", "fift", 5);
}

static bool is_listed(const struct os_proc_process *top, uint32_t count, pid_t pid,
                      const char *name) {
  for (uint32_t i = 0; i < count; i++)
    if (top[i].pid == pid)
      return !strcmp(name, top[i].name);
  return false;
}

/* A host may have many processes that are larger; but never is a smaller one told instead. */
static void the_largest_come_first(void **state) {
  (void)state;
  static const char *const names[] = {"middle", "large", "small"};
  static const uint64_t sizes[] = {2 * BIG, 3 * BIG, BIG};
  pid_t children[3];
  for (int i = 0; i < 3; i++)
    children[i] = start_child(names[i], sizes[i]);
  struct os_proc_process top[OS_PROC_TOP];
  uint32_t count = 0;
  enum status status = os_proc_top(top, OS_PROC_TOP, &count);
  for (int i = 0; i < 3; i++)
    end_child(children[i]);
  assert_int_equal(STATUS_OK, status);
  assert_true(count >= 4 && count <= OS_PROC_TOP);
  for (uint32_t i = 1; i < count; i++)
    assert_true(top[i].resident_bytes <= top[i - 1].resident_bytes);
  for (int i = 0; i < 3; i++)
    assert_true(is_listed(top, count, children[i], names[i]) ||
                top[count - 1].resident_bytes >= sizes[i]);
}

static void no_more_than_asked_for_are_told(void **state) {
  (void)state;
  struct os_proc_process top[4];
  memset(top, 0x5a, sizeof top);
  const struct os_proc_process untouched = top[3];
  pid_t children[] = {start_child("one", 0), start_child("two", 0), start_child("three", 0)};
  uint32_t count = 99;
  enum status status = os_proc_top(top, 3, &count);
  for (int i = 0; i < 3; i++)
    end_child(children[i]);
  assert_int_equal(STATUS_OK, status);
  assert_int_equal(3, count);
  assert_memory_equal(&untouched, &top[3], sizeof untouched);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(memory_is_what_the_host_has),
      cmocka_unit_test(pressure_is_told_where_the_kernel_knows_it),
      cmocka_unit_test(resident_bytes_are_those_in_use),
      cmocka_unit_test(a_process_that_is_not_there_is_not_found),
      cmocka_unit_test(a_name_is_told_byte_by_byte),
      cmocka_unit_test(the_largest_come_first),
      cmocka_unit_test(no_more_than_asked_for_are_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
