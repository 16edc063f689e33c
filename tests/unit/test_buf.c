/* buf: grows to its cap, fails as a whole, and keeps its memory within reason. */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void text_of_an_empty_buf_is_empty(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, 10);
  assert_string_equal(buf_text(&buf), "");
}

static void what_is_added_is_there(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, 1 << 20);
  for (int i = 0; i < 10000; i++)
    buf_print(&buf, "%04d,", i);
  assert_false(buf.failed);
  assert_int_equal(buf.size, 50000);
  assert_memory_equal(buf.data + 49995, "9999,", 5);
  assert_int_equal(strlen(buf_text(&buf)), 50000);
}

static void the_cap_can_be_filled_to_the_last_byte(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, 8);
  buf_add(&buf, "1234", 4);
  buf_print(&buf, "%s", "5678");
  assert_false(buf.failed);
  assert_string_equal(buf_text(&buf), "12345678");
}

static void over_the_cap_nothing_changes_and_nothing_follows(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, 8);
  buf_add(&buf, "123456", 6);
  buf_add(&buf, "789", 3);
  assert_true(buf.failed);
  buf_add(&buf, "7", 1);
  buf_print(&buf, "7");
  assert_null(buf_reserve(&buf, 1));
  assert_int_equal(buf.size, 6);
  assert_memory_equal(buf.data, "123456", 6);
  assert_string_equal(buf_text(&buf), "");
}

static void a_size_that_overflows_is_refused(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, SIZE_MAX);
  buf_add(&buf, "123", 3);
  assert_null(buf_reserve(&buf, SIZE_MAX - 1));
  assert_true(buf.failed);
}

static void memory_that_is_not_there_fails_the_buf(void **state) {
  (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  skip(); /* their allocators end the process instead */
#endif
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, SIZE_MAX);
  buf_add(&buf, "123", 3);
  assert_null(buf_reserve(&buf, SIZE_MAX / 4)); /* more than any address space */
  assert_true(buf.failed);
  assert_memory_equal(buf.data, "123", 3);
}

static void reserve_gives_room_without_size(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, 5000);
  char *room = buf_reserve(&buf, 5000);
  assert_non_null(room);
  memset(room, 'x', 5000);
  assert_int_equal(buf.size, 0);
  assert_non_null(buf_reserve(&buf, 0));
}

static void reset_forgets_contents_and_failure(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, 4);
  buf_add(&buf, "123", 3);
  buf_add(&buf, "456", 3);
  buf_reset(&buf);
  buf_add(&buf, "4567", 4);
  assert_string_equal(buf_text(&buf), "4567");
}

static void reset_keeps_small_memory_only(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, 1 << 20);
  buf_reserve(&buf, 60000);
  buf_reset(&buf);
  assert_non_null(buf.data);
  buf_reserve(&buf, 100000);
  buf_reset(&buf);
  assert_null(buf.data);
  assert_int_equal(buf.space, 0);
  assert_int_equal(buf.cap, 1 << 20);
}

static void shift_drops_from_the_front(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, 100);
  buf_shift(&buf, 3);
  buf_add(&buf, "one\ntwo", 7);
  buf_shift(&buf, 4);
  assert_string_equal(buf_text(&buf), "two");
  buf_shift(&buf, 99);
  assert_int_equal(buf.size, 0);
}

static void take_moves_the_memory_out(void **state) {
  (void)state;
  BUF_CLEANUP struct buf buf;
  buf_init(&buf, 100);
  buf_add(&buf, "mine", 4);
  size_t size = 0;
  char *data = buf_take(&buf, &size);
  assert_int_equal(size, 4);
  assert_string_equal(data, "mine");
  assert_null(buf.data);
  buf_add(&buf, "next", 4);
  assert_string_equal(buf_text(&buf), "next");
  assert_string_equal(data, "mine");
  free(data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(text_of_an_empty_buf_is_empty),
      cmocka_unit_test(what_is_added_is_there),
      cmocka_unit_test(the_cap_can_be_filled_to_the_last_byte),
      cmocka_unit_test(over_the_cap_nothing_changes_and_nothing_follows),
      cmocka_unit_test(a_size_that_overflows_is_refused),
      cmocka_unit_test(memory_that_is_not_there_fails_the_buf),
      cmocka_unit_test(reserve_gives_room_without_size),
      cmocka_unit_test(reset_forgets_contents_and_failure),
      cmocka_unit_test(reset_keeps_small_memory_only),
      cmocka_unit_test(shift_drops_from_the_front),
      cmocka_unit_test(take_moves_the_memory_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
