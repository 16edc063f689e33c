/* advice: one test a rule, and their order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"
#include "service/advice.h"

static const struct advice_facts calm = {.level = PRESSURE_LOW, .seconds_to_full = -1};

/* The bytes that the rule expects of these facts, 0: it says nothing. Nothing else is said. */
static uint64_t said(struct advice_facts facts, enum advice_kind kind) {
  struct advice out[ADVICE_KINDS];
  facts.limit_bytes = facts.limit_bytes ? facts.limit_bytes : UINT64_MAX;
  uint32_t count = advice_judge(&facts, out);
  assert_true(count <= 1);
  assert_true(!count || out[0].kind == kind);
  return count ? out[0].expected_bytes : 0;
}

static void a_calm_device_is_left_alone(void **state) {
  struct advice out[ADVICE_KINDS];
  (void)state;
  assert_int_equal(0, advice_judge(&calm, out));
}

static void caches_from_64_mib_on_and_all_under_pressure(void **state) {
  (void)state;
  struct advice_facts facts = calm;
  facts.cached_bytes = 64 * MIB - 1;
  assert_int_equal(0, said(facts, ADVICE_CACHE));
  facts.level = PRESSURE_MODERATE;
  assert_int_equal(64 * MIB - 1, said(facts, ADVICE_CACHE));
  facts.level = PRESSURE_LOW;
  facts.cached_bytes++;
  assert_int_equal(64 * MIB, said(facts, ADVICE_CACHE));
}

static void a_defragmentation_that_pays(void **state) {
  (void)state;
  struct advice_facts facts = calm;
  facts.releasable_bytes = 64 * MIB;
  facts.committed_bytes = 512 * MIB;
  assert_int_equal(64 * MIB, said(facts, ADVICE_DEFRAGMENT));
  facts.committed_bytes += 8;
  assert_int_equal(0, said(facts, ADVICE_DEFRAGMENT));
  facts.committed_bytes = 128 * MIB;
  facts.releasable_bytes--;
  assert_int_equal(0, said(facts, ADVICE_DEFRAGMENT));
}

static void models_go_at_high_pressure(void **state) {
  (void)state;
  struct advice_facts facts = calm;
  facts.model_bytes = 1;
  facts.level = PRESSURE_MODERATE;
  assert_int_equal(0, said(facts, ADVICE_MODELS));
  facts.level = PRESSURE_HIGH;
  assert_int_equal(1, said(facts, ADVICE_MODELS));
}

static void what_nobody_touches(void **state) {
  (void)state;
  struct advice_facts facts = calm;
  facts.idle.bytes = 64 * MIB;
  assert_int_equal(64 * MIB, said(facts, ADVICE_IDLE));
  facts.idle.bytes = 1;
  assert_int_equal(0, said(facts, ADVICE_IDLE));
  facts.level = PRESSURE_HIGH;
  assert_int_equal(1, said(facts, ADVICE_IDLE));
}

static void spare_copies_count_as_cached(void **state) {
  (void)state;
  struct advice_facts facts = calm;
  facts.spare_bytes = GIB;
  assert_int_equal(0, said(facts, ADVICE_CACHE));
  facts.level = PRESSURE_MODERATE;
  assert_int_equal(GIB, said(facts, ADVICE_CACHE));
  facts.level = PRESSURE_LOW;
  facts.cached_bytes = 64 * MIB; /* what gives that back takes the copies as well */
  assert_int_equal(GIB + 64 * MIB, said(facts, ADVICE_CACHE));
}

static void what_is_lost_brings_nothing_but_goes(void **state) {
  (void)state;
  struct advice out[ADVICE_KINDS];
  struct advice_facts facts = calm;
  facts.lost = (struct advice_sum){GIB, 1};
  assert_int_equal(1, advice_judge(&facts, out));
  assert_int_equal(ADVICE_LOST, out[0].kind);
  assert_int_equal(0, out[0].expected_bytes);
  assert_int_equal(PRESSURE_LOW, out[0].urgency);
}

static void a_leak_of_which_something_is_idle(void **state) {
  (void)state;
  struct advice out[ADVICE_KINDS];
  struct advice_facts facts = calm;
  facts.leak = (struct leak){.owner_id = 1, .bytes_per_second = 1e6, .bytes = GIB};
  assert_int_equal(0, said(facts, ADVICE_LEAK));
  facts.leaked = (struct advice_sum){5, 1};
  assert_int_equal(5, said(facts, ADVICE_LEAK));
  advice_judge(&facts, out);
  assert_int_equal(PRESSURE_HIGH, out[0].urgency);
}

static void a_quota_that_is_nearly_full(void **state) {
  (void)state;
  struct advice_facts facts = calm;
  struct advice_quota *quota = &facts.quota;
  *quota = (struct advice_quota){
      .bytes = 89, .max_bytes = 100, .allocations = 89, .max_allocations = 100, .idle = {7, 1}};
  assert_int_equal(0, said(facts, ADVICE_QUOTA));
  quota->bytes = 90;
  assert_int_equal(7, said(facts, ADVICE_QUOTA));
  quota->max_bytes = UINT64_MAX;
  assert_int_equal(0, said(facts, ADVICE_QUOTA));
  quota->allocations = 90;
  assert_int_equal(7, said(facts, ADVICE_QUOTA));
  quota->max_allocations = 91; /* nine tenths, rounded up */
  assert_int_equal(7, said(facts, ADVICE_QUOTA));
  quota->allocations = 4;
  quota->max_allocations = 5;
  assert_int_equal(0, said(facts, ADVICE_QUOTA));
  quota->allocations = 5;
  assert_int_equal(7, said(facts, ADVICE_QUOTA));
  quota->idle.bytes = 0;
  assert_int_equal(0, said(facts, ADVICE_QUOTA));
}

static void more_than_the_limit(void **state) {
  (void)state;
  struct advice_facts facts = calm;
  facts.committed_bytes = facts.limit_bytes = 100;
  facts.model_bytes = 60;
  assert_int_equal(0, said(facts, ADVICE_LIMIT));
  facts.committed_bytes = 150;
  assert_int_equal(50, said(facts, ADVICE_LIMIT));
  facts.committed_bytes = 200;
  assert_int_equal(60, said(facts, ADVICE_LIMIT));
  facts.model_bytes = 0; /* nothing could be had */
  assert_int_equal(0, said(facts, ADVICE_LIMIT));
}

static void full_within_an_hour(void **state) {
  (void)state;
  struct advice_facts facts = calm;
  facts.seconds_to_full = 3599;
  assert_int_equal(0, said(facts, ADVICE_FULL_SOON)); /* nothing could be had */
  facts.model_bytes = 7;
  assert_int_equal(7, said(facts, ADVICE_FULL_SOON));
  facts.seconds_to_full = 3601;
  assert_int_equal(0, said(facts, ADVICE_FULL_SOON));
  facts.seconds_to_full = -1;
  assert_int_equal(0, said(facts, ADVICE_FULL_SOON));
}

static void what_costs_nobody_anything_comes_first(void **state) {
  (void)state;
  struct advice out[ADVICE_KINDS];
  struct advice_facts facts = {.level = PRESSURE_CRITICAL,
                               .committed_bytes = GIB,
                               .cached_bytes = 1,
                               .releasable_bytes = GIB,
                               .model_bytes = 2,
                               .idle = {3, 1},
                               .lost = {4, 1},
                               .leaked = {5, 1},
                               .quota = {.bytes = 9, .max_bytes = 10, .idle = {6, 1}},
                               .seconds_to_full = 0};
  assert_int_equal(ADVICE_KINDS, advice_judge(&facts, out));
  for (int i = 0; i < ADVICE_KINDS; i++)
    assert_int_equal(i, out[i].kind);
  assert_true(advice_is_safe(ADVICE_CACHE) && advice_is_safe(ADVICE_MODELS));
  assert_false(advice_is_safe(ADVICE_IDLE));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_calm_device_is_left_alone),
      cmocka_unit_test(caches_from_64_mib_on_and_all_under_pressure),
      cmocka_unit_test(a_defragmentation_that_pays),
      cmocka_unit_test(models_go_at_high_pressure),
      cmocka_unit_test(what_nobody_touches),
      cmocka_unit_test(spare_copies_count_as_cached),
      cmocka_unit_test(what_is_lost_brings_nothing_but_goes),
      cmocka_unit_test(a_leak_of_which_something_is_idle),
      cmocka_unit_test(a_quota_that_is_nearly_full),
      cmocka_unit_test(more_than_the_limit),
      cmocka_unit_test(full_within_an_hour),
      cmocka_unit_test(what_costs_nobody_anything_comes_first),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
