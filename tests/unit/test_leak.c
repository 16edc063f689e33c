/* leak: who only takes is named within two minutes; teeth, steps and what is flat are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/units.h"
#include "memory/leak.h"

#define MIB_S ((double)MIB)

/* Seconds after which it rises for the first time, looked at for `seconds`; -1: never. */
static double watch(struct leak_series *series, double (*bytes)(double seconds), int seconds) {
  double first = -1;
  for (int at = 0; at <= seconds; at += LEAK_EVERY_SECONDS) {
    leak_add(series, 1000 + at, bytes(at));
    if (series->rising && first < 0)
      first = at;
  }
  return first;
}

static double slow_leak(double seconds) { return 300 * MIB_S + seconds * MIB_S; }
static double noisy_leak(double seconds) {
  return slow_leak(seconds) + (double)((int)seconds * 37 % 8) * MIB_S;
}
static double flat(double seconds) {
  (void)seconds;
  return 500 * MIB_S;
}
static double teeth(double seconds) {
  return 500 * MIB_S + (double)((int)seconds % 60) * 4 * MIB_S;
}
static double steps(double seconds) { return seconds < 150 ? 100 * MIB_S : 400 * MIB_S; }
static double working_set(double seconds) { return (seconds < 40 ? seconds : 40) * 20 * MIB_S; }

static void a_leak_of_a_mib_a_second_is_named_within_two_minutes(void **state) {
  (void)state;
  struct leak_series series = {.count = 0};
  double first = watch(&series, slow_leak, 300);
  assert_true(first > 0 && first <= 120);
  assert_true(series.rising);
  assert_true(series.bytes_per_second > 0.9 * MIB_S && series.bytes_per_second < 1.1 * MIB_S);
  assert_true(series.since >= 1000 && series.since <= 1005);
}

static void so_is_one_that_trembles(void **state) {
  (void)state;
  struct leak_series series = {.count = 0};
  double first = watch(&series, noisy_leak, 300);
  assert_true(first > 0 && first <= 120);
}

static void the_beginning_stays(void **state) {
  (void)state;
  struct leak_series series = {.count = 0};
  watch(&series, slow_leak, 3000);
  assert_true(series.rising);
  assert_true(series.since <= 1005);
}

static void nothing_else_is_a_leak(void **state) {
  (void)state;
  double (*const traces[])(double) = {flat, teeth, steps, working_set};
  for (size_t i = 0; i < sizeof traces / sizeof *traces; i++) {
    struct leak_series series = {.count = 0};
    if (watch(&series, traces[i], 900) >= 0)
      fail_msg("trace %zu", i);
  }
}

static void it_ends_when_the_rise_does(void **state) {
  (void)state;
  struct leak_series series = {.count = 0};
  watch(&series, slow_leak, 300);
  for (int at = 305; at <= 900; at += LEAK_EVERY_SECONDS)
    leak_add(&series, 1000 + at, slow_leak(300));
  assert_false(series.rising);
  assert_true(series.bytes_per_second == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_leak_of_a_mib_a_second_is_named_within_two_minutes),
      cmocka_unit_test(so_is_one_that_trembles),
      cmocka_unit_test(the_beginning_stays),
      cmocka_unit_test(nothing_else_is_a_leak),
      cmocka_unit_test(it_ends_when_the_rise_does),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
