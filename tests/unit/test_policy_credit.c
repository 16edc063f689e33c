/* policy: what uses are worth, how that ages, and what of it goes along to another device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"
#include "model/policy.h"

static void credit_ages_with_every_eviction(void **state) {
  (void)state;
  struct policy_clock clock = {0};
  struct policy_credit old = {0}, victim = {0}, fresh = {0};
  for (unsigned i = 0; i < 3; i++)
    policy_used(&clock, &old, GIB, 1);
  assert_true(old.credit > 1);
  for (unsigned i = 0; clock.level < old.credit; i++) {
    assert_true(i < 1000);
    victim = (struct policy_credit){0};
    policy_used(&clock, &victim, GIB, 1);
    policy_evicted(&clock, &victim);
  }
  policy_used(&clock, &fresh, GIB, 1);
  assert_true(fresh.credit > old.credit);
}

static void a_use_counts_half_after_256_more(void **state) {
  (void)state;
  struct policy_clock clock = {0};
  struct policy_credit one = {0}, other = {0};
  policy_used(&clock, &one, GIB, 1);
  double before = policy_frequency(&clock, &one);
  for (unsigned i = 0; i < 256; i++) {
    policy_used(&clock, &other, GIB, 1);
    assert_true(policy_frequency(&clock, &one) < before);
    before = policy_frequency(&clock, &one);
  }
  assert_true(before == 0.5);
}

static void a_reload_that_was_not_measured_ranks_like_a_common_one(void **state) {
  (void)state;
  struct policy_clock clock = {0};
  struct policy_credit unknown = {0}, stuck = {0};
  policy_used(&clock, &unknown, 2 * GIB, 0);
  assert_true(unknown.credit == 1);
  policy_used(&clock, &stuck, 1, 1e9); /* bounded: nothing stays for ever */
  assert_true(stuck.credit <= 1000);
}

static void uses_go_along_to_a_device_that_counts_for_itself(void **state) {
  (void)state;
  struct policy_clock from = {0}, to = {.level = 7, .uses = 1000000};
  struct policy_credit credit = {0}, other = {0};
  for (unsigned i = 0; i < 4; i++)
    policy_used(&from, &credit, GIB, 1);
  double before = policy_frequency(&from, &credit);
  policy_moved(&from, &from, &credit);
  assert_true(policy_frequency(&from, &credit) == before && credit.credit > 1);
  policy_moved(&from, &to, &credit);
  assert_true(policy_frequency(&to, &credit) == before);
  policy_used(&to, &credit, GIB, 1);
  policy_used(&to, &other, GIB, 1);
  assert_true(credit.credit > other.credit && other.credit > to.level);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(credit_ages_with_every_eviction),
      cmocka_unit_test(a_use_counts_half_after_256_more),
      cmocka_unit_test(a_reload_that_was_not_measured_ranks_like_a_common_one),
      cmocka_unit_test(uses_go_along_to_a_device_that_counts_for_itself),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
