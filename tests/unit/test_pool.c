#include "base/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define RECORD 48

static bool is_zero(const struct pool *pool, uint32_t index) {
  static const char zero[RECORD];
  return !memcmp(pool_at(pool, index), zero, RECORD);
}

static void gives_each_index_once_up_to_max(void **state) {
  (void)state;
  struct pool pool;
  assert_int_equal(pool_init(&pool, RECORD, 100), STATUS_OK);
  bool seen[101] = {true};
  for (int i = 0; i < 100; i++) {
    uint32_t index = pool_take(&pool);
    assert_in_range(index, 1, 100);
    assert_false(seen[index]);
    seen[index] = true;
    memset(pool_at(&pool, index), 0xff, RECORD);
  }
  assert_int_equal(pool.live, 100);
  assert_int_equal(pool_take(&pool), 0);
  pool_done(&pool);
}

static void records_do_not_overlap(void **state) {
  (void)state;
  struct pool pool;
  assert_int_equal(pool_init(&pool, RECORD, 100), STATUS_OK);
  for (uint32_t i = 0; i < 100; i++) {
    uint32_t index = pool_take(&pool);
    memset(pool_at(&pool, index), (int)index, RECORD);
  }
  for (uint32_t index = 1; index <= 100; index++)
    for (size_t i = 0; i < RECORD; i++)
      assert_int_equal(((unsigned char *)pool_at(&pool, index))[i], index);
  pool_done(&pool);
}

static void a_given_record_comes_back_zeroed(void **state) {
  (void)state;
  struct pool pool;
  assert_int_equal(pool_init(&pool, RECORD, 3), STATUS_OK);
  uint32_t taken[3];
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 3; i++) {
      taken[i] = pool_take(&pool);
      assert_int_not_equal(taken[i], 0);
      assert_true(is_zero(&pool, taken[i]));
      memset(pool_at(&pool, taken[i]), 0xff, RECORD);
    }
    assert_int_equal(pool_take(&pool), 0);
    pool_give(&pool, taken[1]);
    pool_give(&pool, taken[0]);
    pool_give(&pool, taken[2]);
    assert_int_equal(pool.live, 0);
  }
  pool_done(&pool);
}

static void a_giving_leaves_other_records_alone(void **state) {
  (void)state;
  struct pool pool;
  assert_int_equal(pool_init(&pool, RECORD, 2), STATUS_OK);
  uint32_t kept = pool_take(&pool), given = pool_take(&pool);
  memset(pool_at(&pool, kept), 0x5a, RECORD);
  pool_give(&pool, given);
  assert_int_equal(pool_take(&pool), given);
  char expected[RECORD];
  memset(expected, 0x5a, RECORD);
  assert_memory_equal(pool_at(&pool, kept), expected, RECORD);
  pool_done(&pool);
}

static void reserves_without_committing(void **state) {
  (void)state;
  struct pool pool;
  assert_int_equal(pool_init(&pool, 4096, 64u << 20), STATUS_OK); /* 256 GiB */
  assert_int_equal(pool_take(&pool), 1);
  pool_done(&pool);
}

static void refuses_what_no_address_space_holds(void **state) {
  (void)state;
  struct pool pool = {.live = 7};
  assert_int_equal(pool_init(&pool, SIZE_MAX / 16 * 8, UINT32_MAX), STATUS_INTERNAL_ERROR);
  assert_int_equal(pool_init(&pool, (size_t)1 << 40, UINT32_MAX), STATUS_INTERNAL_ERROR);
  assert_int_equal(pool.live, 7);
}

static void done_is_harmless_twice(void **state) {
  (void)state;
  struct pool pool = {0};
  pool_done(&pool);
  assert_int_equal(pool_init(&pool, RECORD, 1), STATUS_OK);
  pool_done(&pool);
  pool_done(&pool);
  assert_null(pool.base);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gives_each_index_once_up_to_max),
      cmocka_unit_test(records_do_not_overlap),
      cmocka_unit_test(a_given_record_comes_back_zeroed),
      cmocka_unit_test(a_giving_leaves_other_records_alone),
      cmocka_unit_test(reserves_without_committing),
      cmocka_unit_test(refuses_what_no_address_space_holds),
      cmocka_unit_test(done_is_harmless_twice),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
