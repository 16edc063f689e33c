/* rate: a second's worth at once, then as they come back, each caller by itself. */
#include "base/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

#define START (1000 * CLOCK_SECOND)

static unsigned spend(struct rate *rate, uint32_t domain, uint64_t now_ns) {
  unsigned count = 0;
  while (count < 1000 && rate_take(rate, domain, now_ns))
    count++;
  return count;
}

static void a_seconds_worth_can_be_spent_at_once(void **state) {
  (void)state;
  static const unsigned rates[] = {1, 2, 10, 100};
  for (int i = 0; i < 4; i++) {
    struct rate rate;
    rate_init(&rate, rates[i]);
    assert_int_equal(spend(&rate, 1, START), rates[i]);
    assert_false(rate_take(&rate, 1, START));
  }
}

static void it_comes_back_with_time_and_never_more(void **state) {
  (void)state;
  struct rate rate;
  rate_init(&rate, 10);
  assert_int_equal(spend(&rate, 1, START), 10);
  assert_int_equal(spend(&rate, 1, START + CLOCK_SECOND / 10 - 1), 0);
  assert_int_equal(spend(&rate, 1, START + CLOCK_SECOND / 10), 1);
  assert_int_equal(spend(&rate, 1, START + CLOCK_SECOND / 2), 4);
  assert_int_equal(spend(&rate, 1, START + 100 * CLOCK_SECOND), 10);
}

static void one_caller_costs_another_nothing(void **state) {
  (void)state;
  struct rate rate;
  rate_init(&rate, 5);
  assert_int_equal(spend(&rate, 1, START), 5);
  assert_int_equal(spend(&rate, RATE_STRANGERS, START), 5);
  assert_int_equal(spend(&rate, 0, START), 5);
  assert_int_equal(spend(&rate, 1, START), 0);
}

static void without_a_rate_all_may_pass(void **state) {
  (void)state;
  struct rate rate;
  rate_init(&rate, 0);
  assert_int_equal(spend(&rate, 1, START), 1000);
}

static void whose_place_is_taken_has_spent_nothing(void **state) {
  (void)state;
  struct rate rate;
  rate_init(&rate, 1);
  for (uint32_t domain = 0; domain < RATE_CALLERS; domain++)
    assert_int_equal(spend(&rate, domain, START), 1);
  assert_false(rate_take(&rate, RATE_CALLERS, START));
  for (uint32_t domain = 0; domain < RATE_CALLERS; domain++)
    assert_false(rate_take(&rate, domain, START + CLOCK_SECOND - 1));
  for (uint32_t domain = RATE_CALLERS; domain < 2 * RATE_CALLERS; domain++)
    assert_int_equal(spend(&rate, domain, START + CLOCK_SECOND), 1);
}

static void the_highest_rate_is_one(void **state) {
  (void)state;
  struct rate rate;
  rate_init(&rate, RATE_MAX);
  assert_int_equal(rate.each_ns, CLOCK_SECOND / RATE_MAX);
  assert_true(rate.each_ns > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_seconds_worth_can_be_spent_at_once),
      cmocka_unit_test(it_comes_back_with_time_and_never_more),
      cmocka_unit_test(one_caller_costs_another_nothing),
      cmocka_unit_test(without_a_rate_all_may_pass),
      cmocka_unit_test(whose_place_is_taken_has_spent_nothing),
      cmocka_unit_test(the_highest_rate_is_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
