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
  facts.idle_bytes = 64 * MIB;
  assert_int_equal(64 * MIB, said(facts, ADVICE_IDLE));
  facts.idle_bytes = 1;
  assert_int_equal(0, said(facts, ADVICE_IDLE));
  facts.level = PRESSURE_HIGH;
  assert_int_equal(1, said(facts, ADVICE_IDLE));
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
                               .idle_bytes = 3,
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
      cmocka_unit_test(full_within_an_hour),
      cmocka_unit_test(what_costs_nobody_anything_comes_first),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
