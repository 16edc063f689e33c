/* os_memfd: against the kernel, nothing in between. */
#include "base/os_memfd.h"
#include "base/units.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096

static struct share create(uint64_t size) {
  struct share share;
  assert_int_equal(os_memfd_create("test", size, &share), STATUS_OK);
  return share;
}

static uint64_t resident(const struct share *share) {
  uint64_t bytes = 1;
  assert_int_equal(os_memfd_resident(share, &bytes), STATUS_OK);
  return bytes;
}

static uint64_t size_of(const struct share *share) {
  uint64_t bytes = 1;
  assert_int_equal(os_memfd_size(share, &bytes), STATUS_OK);
  return bytes;
}

static void is_private_empty_and_unsealed(void **state) {
  (void)state;
  struct share share = create(64 * MIB);
  struct stat facts;
  assert_int_equal(fstat((int)share.value, &facts), 0);
  assert_int_equal(facts.st_mode & 0777, 0600);
  assert_int_equal(fcntl((int)share.value, F_GETFD), FD_CLOEXEC);
  assert_int_equal(fcntl((int)share.value, F_GET_SEALS), 0);
  assert_int_equal(share.kind, SHARE_MEMFD);
  assert_int_equal(size_of(&share), 64 * MIB);
  assert_int_equal(resident(&share), 0);
  share_close(&share);
}

static void shows_its_name(void **state) {
  (void)state;
  struct share share;
  assert_int_equal(os_memfd_create("memkeep-x", PAGE, &share), STATUS_OK);
  char path[64], target[64] = "";
  snprintf(path, sizeof path, "/proc/self/fd/%d", (int)share.value);
  assert_true(readlink(path, target, sizeof target - 1) > 0);
  assert_string_equal(target, "/memfd:memkeep-x (deleted)");
  share_close(&share);
}

static void refuses_what_no_file_holds(void **state) {
  (void)state;
  struct share share = {.kind = SHARE_FILE, .value = 77};
  assert_int_equal(os_memfd_create("test", UINT64_C(1) << 63, &share), STATUS_INSUFFICIENT_MEMORY);
  assert_int_equal(share.kind, SHARE_FILE);
  assert_int_equal(share.value, 77);
}

static void says_when_descriptors_are_out(void **state) {
  (void)state;
  struct rlimit old, none;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
  none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  struct share share = {.kind = SHARE_NONE};
  enum status status = os_memfd_create("test", PAGE, &share);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
  assert_int_equal(status, STATUS_INTERNAL_ERROR);
  assert_int_equal(share.kind, SHARE_NONE);
}

static void commits_and_gives_back(void **state) {
  (void)state;
  struct share share = create(16 * PAGE);
  assert_int_equal(os_memfd_commit(&share, 2 * PAGE, 3 * PAGE), STATUS_OK);
  assert_int_equal(resident(&share), 3 * PAGE);
  assert_int_equal(os_memfd_punch(&share, 3 * PAGE, 13 * PAGE), STATUS_OK);
  assert_int_equal(resident(&share), PAGE);
  assert_int_equal(size_of(&share), 16 * PAGE);
  share_close(&share);
}

/* Where the kernel has huge pages for who asks, its inner part is made of them. */
static void a_large_commit_makes_all_of_it_and_keeps_what_is_there(void **state) {
  (void)state;
  const uint64_t size = 8 * MIB, offset = MIB + PAGE;
  struct share share = create(size);
  char byte = 7;
  assert_int_equal(pwrite((int)share.value, &byte, 1, 3 * MIB), 1);
  assert_int_equal(os_memfd_commit(&share, offset, size - 2 * offset), STATUS_OK);
  assert_int_equal(resident(&share), size - 2 * offset);
  assert_int_equal(pread((int)share.value, &byte, 1, 3 * MIB), 1);
  assert_int_equal(byte, 7);
  share_close(&share);
}

static void a_commit_beyond_the_end_grows_the_file(void **state) {
  (void)state;
  struct share share = create(PAGE);
  assert_int_equal(os_memfd_commit(&share, PAGE, 2 * PAGE), STATUS_OK);
  assert_int_equal(size_of(&share), 3 * PAGE);
  share_close(&share);
}

/* Refused before a page is touched: the kernel itself would fill all RAM first. */
static void refuses_a_commit_beyond_any_file(void **state) {
  (void)state;
  struct share share = create(PAGE);
  assert_int_equal(os_memfd_commit(&share, INT64_MAX - PAGE, 2 * PAGE), STATUS_INSUFFICIENT_MEMORY);
  assert_int_equal(size_of(&share), PAGE);
  assert_int_equal(resident(&share), 0);
  share_close(&share);
}

static void says_when_a_limit_forbids_the_commit(void **state) {
  (void)state;
  struct share share = create(PAGE);
  struct rlimit old, small;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  small = (struct rlimit){.rlim_cur = 2 * PAGE, .rlim_max = old.rlim_max};
  void (*old_action)(int) = signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  enum status status = os_memfd_commit(&share, PAGE, 2 * PAGE);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  signal(SIGXFSZ, old_action);
  assert_int_equal(status, STATUS_INSUFFICIENT_MEMORY);
  assert_int_equal(size_of(&share), PAGE);
  assert_int_equal(resident(&share), 0);
  share_close(&share);
}

static void a_punched_range_reads_as_zero(void **state) {
  (void)state;
  struct share share = create(2 * PAGE);
  void *map;
  assert_int_equal(os_memfd_map(&share, 2 * PAGE, true, &map), STATUS_OK);
  unsigned char *bytes = map;
  memset(bytes, 0xab, 2 * PAGE);
  assert_int_equal(os_memfd_punch(&share, 100, PAGE), STATUS_OK);
  assert_int_equal(bytes[99], 0xab);
  assert_int_equal(bytes[100], 0);
  assert_int_equal(bytes[PAGE + 99], 0);
  assert_int_equal(bytes[PAGE + 100], 0xab);
  os_memfd_unmap(map, 2 * PAGE);
  share_close(&share);
}

static void a_sealed_size_stays(void **state) {
  (void)state;
  struct share share = create(2 * PAGE);
  assert_int_equal(os_memfd_seal(&share, OS_MEMFD_SEAL_SIZE), STATUS_OK);
  assert_true(os_memfd_is_sealed(&share, OS_MEMFD_SEAL_SHRINK));
  assert_true(os_memfd_is_sealed(&share, OS_MEMFD_SEAL_SIZE));
  assert_false(os_memfd_is_sealed(&share, OS_MEMFD_SEAL_SIZE | OS_MEMFD_SEAL_FINAL));
  assert_int_not_equal(ftruncate((int)share.value, PAGE), 0);
  assert_int_equal(os_memfd_commit(&share, 2 * PAGE, PAGE), STATUS_CONFLICT);
  assert_int_equal(os_memfd_commit(&share, PAGE, PAGE), STATUS_OK);
  assert_int_equal(os_memfd_punch(&share, PAGE, PAGE), STATUS_OK);
  share_close(&share);
}

static void a_shrink_seal_lets_it_grow(void **state) {
  (void)state;
  struct share share = create(PAGE);
  assert_int_equal(os_memfd_seal(&share, OS_MEMFD_SEAL_SHRINK | OS_MEMFD_SEAL_FINAL), STATUS_OK);
  assert_int_equal(os_memfd_commit(&share, PAGE, PAGE), STATUS_OK);
  assert_int_not_equal(ftruncate((int)share.value, 0), 0);
  share_close(&share);
}

static void the_final_seal_is_the_last(void **state) {
  (void)state;
  struct share share = create(PAGE);
  assert_int_equal(os_memfd_seal(&share, OS_MEMFD_SEAL_FINAL), STATUS_OK);
  assert_int_equal(os_memfd_seal(&share, OS_MEMFD_SEAL_SIZE), STATUS_CONFLICT);
  assert_false(os_memfd_is_sealed(&share, OS_MEMFD_SEAL_SIZE));
  share_close(&share);
}

static void after_the_write_seal_it_can_only_be_read(void **state) {
  (void)state;
  struct share share = create(PAGE);
  void *map;
  assert_int_equal(os_memfd_map(&share, PAGE, true, &map), STATUS_OK);
  memcpy(map, "kept", 5);
  os_memfd_unmap(map, PAGE);
  assert_int_equal(os_memfd_seal(&share, OS_MEMFD_SEAL_WRITE), STATUS_OK);
  map = NULL;
  assert_int_equal(os_memfd_map(&share, PAGE, true, &map), STATUS_CONFLICT);
  assert_null(map);
  assert_int_equal(os_memfd_punch(&share, 0, PAGE), STATUS_CONFLICT);
  assert_int_equal(os_memfd_map(&share, PAGE, false, &map), STATUS_OK);
  assert_string_equal(map, "kept");
  os_memfd_unmap(map, PAGE);
  share_close(&share);
}

static void two_maps_see_the_same_bytes(void **state) {
  (void)state;
  struct share share = create(PAGE);
  void *writer, *reader;
  assert_int_equal(os_memfd_map(&share, PAGE, true, &writer), STATUS_OK);
  assert_int_equal(os_memfd_map(&share, PAGE, false, &reader), STATUS_OK);
  memcpy(writer, "both", 5);
  assert_string_equal(reader, "both");
  os_memfd_unmap(writer, PAGE);
  os_memfd_unmap(reader, PAGE);
  os_memfd_unmap(NULL, PAGE);
  share_close(&share);
}

static void a_map_may_run_ahead_of_the_file(void **state) {
  (void)state;
  struct share share = create(PAGE);
  void *map;
  assert_int_equal(os_memfd_map(&share, 4 * GIB, true, &map), STATUS_OK);
  assert_int_equal(os_memfd_commit(&share, PAGE, PAGE), STATUS_OK);
  unsigned char *bytes = map;
  bytes[2 * PAGE - 1] = 7;
  unsigned char stored = 0;
  assert_int_equal(pread((int)share.value, &stored, 1, 2 * PAGE - 1), 1);
  assert_int_equal(stored, 7);
  os_memfd_unmap(map, 4 * GIB);
  share_close(&share);
}

static void a_handle_for_reading_writes_nothing(void **state) {
  (void)state;
  struct share share = create(PAGE), reader;
  void *map;
  assert_int_equal(os_memfd_read_only(&share, &reader), STATUS_OK);
  assert_int_equal(reader.kind, SHARE_MEMFD);
  assert_int_equal(fcntl((int)reader.value, F_GETFD), FD_CLOEXEC);
  assert_int_equal(pwrite((int)share.value, "x", 1, 0), 1);
  assert_int_equal(pwrite((int)reader.value, "y", 1, 0), -1);
  assert_int_not_equal(os_memfd_punch(&reader, 0, PAGE), STATUS_OK);
  assert_int_not_equal(os_memfd_map(&reader, PAGE, true, &map), STATUS_OK);
  assert_int_equal(os_memfd_map(&reader, PAGE, false, &map), STATUS_OK);
  assert_int_equal(*(char *)map, 'x');
  assert_int_not_equal(mprotect(map, PAGE, PROT_READ | PROT_WRITE), 0);
  os_memfd_unmap(map, PAGE);
  share_close(&reader);
  share_close(&share);
}

static void what_is_no_memfd_is_an_error(void **state) {
  (void)state;
  int ends[2];
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  struct share share = {.kind = SHARE_FILE, .value = ends[1]};
  void *map = NULL;
  assert_false(os_memfd_is_sealed(&share, 0));
  assert_int_equal(os_memfd_seal(&share, OS_MEMFD_SEAL_SIZE), STATUS_INTERNAL_ERROR);
  assert_int_equal(os_memfd_map(&share, PAGE, true, &map), STATUS_INTERNAL_ERROR);
  assert_null(map);
  share_close(&share);
  close(ends[0]);
  struct share closed = {.kind = SHARE_MEMFD, .value = 1 << 20};
  uint64_t bytes = 5;
  assert_int_equal(os_memfd_size(&closed, &bytes), STATUS_INTERNAL_ERROR);
  assert_int_equal(os_memfd_resident(&closed, &bytes), STATUS_INTERNAL_ERROR);
  assert_int_equal(bytes, 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(is_private_empty_and_unsealed),
      cmocka_unit_test(shows_its_name),
      cmocka_unit_test(refuses_what_no_file_holds),
      cmocka_unit_test(says_when_descriptors_are_out),
      cmocka_unit_test(commits_and_gives_back),
      cmocka_unit_test(a_large_commit_makes_all_of_it_and_keeps_what_is_there),
      cmocka_unit_test(a_commit_beyond_the_end_grows_the_file),
      cmocka_unit_test(refuses_a_commit_beyond_any_file),
      cmocka_unit_test(says_when_a_limit_forbids_the_commit),
      cmocka_unit_test(a_punched_range_reads_as_zero),
      cmocka_unit_test(a_sealed_size_stays),
      cmocka_unit_test(a_shrink_seal_lets_it_grow),
      cmocka_unit_test(the_final_seal_is_the_last),
      cmocka_unit_test(after_the_write_seal_it_can_only_be_read),
      cmocka_unit_test(two_maps_see_the_same_bytes),
      cmocka_unit_test(a_handle_for_reading_writes_nothing),
      cmocka_unit_test(a_map_may_run_ahead_of_the_file),
      cmocka_unit_test(what_is_no_memfd_is_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
