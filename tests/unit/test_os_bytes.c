/* os_bytes: all of the bytes and no other, and each reason why not by its name. */
#include "base/os_bytes.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/os_memfd.h"
#include "base/units.h"

#define SIZE (256 * KIB)

static struct share memory_make(void) {
  struct share memory;
  assert_int_equal(os_memfd_create("test_os_bytes", SIZE, &memory), STATUS_OK);
  assert_int_equal(os_memfd_seal(&memory, OS_MEMFD_SEAL_SIZE), STATUS_OK);
  return memory;
}

static void what_is_written_is_read(void **state) {
  (void)state;
  char back[8] = "";
  struct share memory = memory_make();
  assert_int_equal(os_bytes_write(&memory, 4093, "memkeep", 7), STATUS_OK);
  assert_int_equal(os_bytes_read(&memory, 4093, back, 7), STATUS_OK);
  assert_string_equal(back, "memkeep");
  share_close(&memory);
}

static void a_fill_ends_where_it_should(void **state) {
  (void)state;
  static unsigned char bytes[SIZE];
  struct share memory = memory_make();
  assert_int_equal(os_bytes_fill(&memory, 1001, 0xA5, SIZE - 3001), STATUS_OK);
  assert_int_equal(os_bytes_read(&memory, 0, bytes, SIZE), STATUS_OK);
  for (uint64_t i = 0; i < SIZE; i++)
    assert_int_equal(bytes[i], i >= 1001 && i < SIZE - 2000 ? 0xA5 : 0);
  share_close(&memory);
}

static void why_not_has_a_name(void **state) {
  (void)state;
  char bytes[2] = {1, 2};
  struct share memory = memory_make();
  struct share full = {SHARE_FILE, open("/dev/full", O_RDWR | O_CLOEXEC)};
  struct share none = {SHARE_FILE, -1};
  assert_int_equal(os_bytes_read(&memory, SIZE - 1, bytes, 2), STATUS_NOT_FOUND);
  assert_int_equal(os_bytes_write(&full, 0, bytes, 2), STATUS_INSUFFICIENT_MEMORY);
  assert_int_equal(os_bytes_fill(&full, 0, 1, SIZE), STATUS_INSUFFICIENT_MEMORY);
  assert_int_equal(os_bytes_write(&none, 0, bytes, 2), STATUS_INTERNAL_ERROR);
  assert_int_equal(os_memfd_seal(&memory, OS_MEMFD_SEAL_WRITE), STATUS_OK);
  assert_int_equal(os_bytes_write(&memory, 0, bytes, 2), STATUS_CONFLICT);
  assert_int_equal(os_bytes_fill(&memory, 0, 1, 2), STATUS_CONFLICT);
  assert_int_equal(os_bytes_read(&memory, 0, bytes, 2), STATUS_OK);
  share_close(&full);
  share_close(&memory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(a_fill_ends_where_it_should),
      cmocka_unit_test(why_not_has_a_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
