/* estimate: to the byte what the card says, in granules what it takes, and what loads have taught.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"
#include "model/estimate.h"

static struct estimate of(const struct card *card, const struct estimate_learned *learned) {
  struct estimate estimate;
  assert_int_equal(STATUS_OK, estimate_make(card, 2 * MIB, learned, &estimate));
  return estimate;
}

static const struct card_file FILES[] = {{3 * MIB + 100, 100, 0, 0}, {MIB + 8, 8, 0, 0}};
static const struct card_head HEAD = {.files = 2, .weight_bytes = 4 * MIB - 50};
static const struct card CARD = {.head = &HEAD, .files = FILES};

static void each_file_takes_whole_granules(void **state) {
  (void)state;
  struct estimate estimate = of(&CARD, NULL);
  assert_int_equal(4 * MIB - 50, estimate.weights_bytes);
  assert_int_equal(6 * MIB, estimate.total_bytes); /* 3 MiB in 4, 1 MiB in 2 */
  assert_int_equal(2 * MIB + 50, estimate.overhead_bytes);
  assert_int_equal(ESTIMATE_EXACT, estimate.source);
  assert_string_equal("exact", estimate_source_name(estimate.source));
  assert_true(estimate.correction == 1);
}

static void the_first_load_is_believed_and_later_ones_blend(void **state) {
  (void)state;
  struct estimate_learned learned = {0};
  assert_int_equal(ESTIMATE_EXACT, of(&CARD, &learned).source);
  estimate_learn(&learned, 6 * MIB, 9 * MIB);
  struct estimate estimate = of(&CARD, &learned);
  assert_int_equal(ESTIMATE_LEARNED, estimate.source);
  assert_int_equal(10 * MIB, estimate.total_bytes); /* 9 in granules of 2 */
  assert_int_equal(6 * MIB, estimate.known_bytes);  /* what the next one is compared to */
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
  assert_int_equal(4 * MIB, of(&CARD, &small).total_bytes); /* 3 in granules of 2 */
  assert_int_equal(50, of(&CARD, &small).overhead_bytes);
  estimate_learn(&none, MIB, 0); /* the driver said nothing */
  estimate_learn(&none, 0, MIB);
  assert_int_equal(0, none.loads);
}

static void more_than_any_device_has_is_refused(void **state) {
  (void)state;
  static const struct card_file huge[] = {{UINT64_C(1) << 62, 0, 0, 0}, {MIB, 0, 0, 0}};
  const struct card card = {.head = &HEAD, .files = huge};
  struct estimate_learned four = {ESTIMATE_CORRECTION_MAX, 1};
  struct estimate estimate = {.total_bytes = 7};
  assert_int_equal(STATUS_ALLOCATION_TOO_LARGE, estimate_make(&card, MIB, NULL, &estimate));
  const struct card_head one = {.files = 1};
  const struct card half = {.head = &one, .files = huge};
  assert_int_equal(STATUS_ALLOCATION_TOO_LARGE, estimate_make(&half, MIB, &four, &estimate));
  assert_int_equal(7, estimate.total_bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_file_takes_whole_granules),
      cmocka_unit_test(the_first_load_is_believed_and_later_ones_blend),
      cmocka_unit_test(a_wild_measurement_is_bounded),
      cmocka_unit_test(more_than_any_device_has_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
