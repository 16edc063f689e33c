/* policy_preset: each word has one; and what the strategies are worth on traces of requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../bench/policy_trace.h"
#include "model/policy_preset.h"

static void every_word_has_a_preset(void **state) {
  (void)state;
  static const char *const WORDS[] = {"fifo",         "lru",      "lfu",        "cost", "priority",
                                      "conservative", "balanced", "aggressive", "smart"};
  for (uint32_t i = 0; i < 9; i++) {
    assert_string_equal(WORDS[i], policy_preset_at(i)->name);
    assert_ptr_equal(policy_preset_at(i), policy_preset_find(WORDS[i]));
  }
  assert_null(policy_preset_at(9));
  assert_null(policy_preset_find("random"));
  struct policy_params params = policy_preset_params(policy_preset_find("conservative"));
  assert_true(params.park && !params.drop && params.min_idle_ns);
  params = policy_preset_params(policy_preset_find("aggressive"));
  assert_true(params.drop && !params.min_residency_ns && !params.min_loads);
}

static void cost_reloads_a_quarter_less_than_fifo(void **state) {
  (void)state;
  double fifo = 0, cost = 0;
  for (uint64_t seed = 1; seed <= 60; seed++) {
    struct trace trace = {.seed = UINT64_C(0x9e3779b97f4a7c15) * seed, .tenths = 10};
    fifo += (double)trace_run(&trace, POLICY_FIFO).bytes;
    cost += (double)trace_run(&trace, POLICY_COST).bytes;
  }
  assert_true(cost <= 0.75 * fifo);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_word_has_a_preset),
      cmocka_unit_test(cost_reloads_a_quarter_less_than_fifo),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
