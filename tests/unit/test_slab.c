/* slab: how large shared segments get, and from where on one does not share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"
#include "memory/slab.h"

static void large_requests_do_not_share(void **state) {
  (void)state;
  assert_int_equal(MIB, slab_dedicated_from(0));
  assert_int_equal(MIB, slab_dedicated_from(4 * GIB));
  assert_int_equal(20 * MIB, slab_dedicated_from(80 * GIB));
}

static uint64_t next_size(uint64_t committed, uint64_t request, uint64_t alignment) {
  return slab_next_size(&(struct slab_want){committed, request, alignment, false});
}

static void slabs_grow_with_their_owner(void **state) {
  (void)state;
  assert_int_equal(2 * MIB, next_size(0, 1, 256));
  assert_int_equal(2 * MIB, next_size(128 * MIB, 1, 256));
  assert_int_equal(4 * MIB, next_size(129 * MIB, 1, 256));
  assert_int_equal(GIB, next_size(64 * GIB, 1, 256));
  assert_int_equal(GIB, next_size(UINT64_C(1) << 62, 1, 256));
}

static void a_slab_holds_what_it_is_made_for(void **state) {
  (void)state;
  for (uint64_t size = 1; size < 64 * MIB; size = size * 3 + 1)
    for (uint64_t alignment = 1; alignment <= 2 * MIB; alignment *= 2)
      assert_true(next_size(0, size, alignment) >=
                  size + (alignment > SLAB_GRANULE ? alignment - SLAB_GRANULE : 0));
}

static void few_hundred_segments_hold_any_amount(void **state) {
  (void)state;
  uint64_t committed = 0;
  unsigned segments = 0;
  for (; committed < 64 * GIB; segments++)
    committed += next_size(committed, 4096, 256);
  assert_true(segments < 700);
}

static void costly_segments_are_fewer(void **state) {
  (void)state;
  uint64_t committed = 0;
  unsigned segments = 0;
  for (; committed < 16 * GIB; segments++) {
    uint64_t size = slab_next_size(&(struct slab_want){committed, 4096, 256, true});
    assert_true(size <= units_max(committed / 8, 16 * MIB));
    committed += size;
  }
  assert_true(segments < 100);
}

static void a_segment_of_ones_own_is_whole_pages(void **state) {
  (void)state;
  assert_int_equal(4096, slab_dedicated_size(1, 4096));
  assert_int_equal(2 * MIB, slab_dedicated_size(2 * MIB, 2 * MIB));
  assert_int_equal(4 * MIB, slab_dedicated_size(2 * MIB + 1, 2 * MIB));
  assert_int_equal(0, slab_dedicated_size(UINT64_MAX - 5, 4096));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(large_requests_do_not_share),
      cmocka_unit_test(slabs_grow_with_their_owner),
      cmocka_unit_test(a_slab_holds_what_it_is_made_for),
      cmocka_unit_test(few_hundred_segments_hold_any_amount),
      cmocka_unit_test(costly_segments_are_fewer),
      cmocka_unit_test(a_segment_of_ones_own_is_whole_pages),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
