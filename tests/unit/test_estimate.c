/* estimate: what is known surely, and what loads have taught. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"
#include "model/estimate.h"

static void before_the_first_load_it_is_what_the_segments_take(void **state) {
  (void)state;
  struct estimate_learned learned = {0};
  struct estimate estimate = estimate_make(4 * MIB - 50, 6 * MIB, &learned);
  assert_int_equal(4 * MIB - 50, estimate.weights_bytes);
  assert_int_equal(6 * MIB, estimate.total_bytes);
  assert_int_equal(2 * MIB + 50, estimate.overhead_bytes);
  assert_int_equal(100, estimate.correction);
  assert_false(estimate.measured);
}

static void the_first_load_is_believed_and_later_ones_blend(void **state) {
  (void)state;
  struct estimate_learned learned = {0};
  estimate_learn(&learned, 6 * MIB, 9 * MIB);
  struct estimate estimate = estimate_make(4 * MIB, 6 * MIB, &learned);
  assert_true(estimate.measured);
  assert_int_equal(150, estimate.correction);
  assert_int_equal(9 * MIB, estimate.total_bytes);
  assert_int_equal(5 * MIB, estimate.overhead_bytes);
  for (unsigned i = 0; i < 30; i++)
    estimate_learn(&learned, 6 * MIB, 6 * MIB);
  assert_true(learned.correction > 1 && learned.correction < 1.01);
}

static void a_wild_measurement_is_bounded(void **state) {
  (void)state;
  struct estimate_learned large = {0}, small = {0}, none = {0};
  estimate_learn(&large, MIB, UINT64_MAX);
  estimate_learn(&small, UINT64_MAX, 1);
  assert_true(large.correction == ESTIMATE_CORRECTION_MAX);
  assert_true(small.correction == ESTIMATE_CORRECTION_MIN);
  /* Less than its segments is never made room for. */
  assert_int_equal(6 * MIB, estimate_make(4 * MIB, 6 * MIB, &small).total_bytes);
  estimate_learn(&none, MIB, 0); /* the driver said nothing */
  estimate_learn(&none, 0, MIB);
  assert_int_equal(0, none.loads);
  assert_true(estimate_make(0, UINT64_MAX, &large).total_bytes == UINT64_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(before_the_first_load_it_is_what_the_segments_take),
      cmocka_unit_test(the_first_load_is_believed_and_later_ones_blend),
      cmocka_unit_test(a_wild_measurement_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
