/* pressure: levels, and that a value that trembles does not flap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "memory/pressure.h"

static const struct pressure_thresholds defaults = {7500, 9000, 9500};

static void levels_begin_at_their_thresholds(void **state) {
  (void)state;
  static const struct {
    uint32_t percent;
    enum pressure_level level;
  } rows[] = {{0, PRESSURE_LOW},         {7499, PRESSURE_LOW},  {7500, PRESSURE_MODERATE},
              {9000, PRESSURE_HIGH},     {9499, PRESSURE_HIGH}, {9500, PRESSURE_CRITICAL},
              {25000, PRESSURE_CRITICAL}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_int_equal(rows[i].level, pressure_next(&defaults, PRESSURE_LOW, rows[i].percent));
}

static void a_level_is_left_two_points_below(void **state) {
  (void)state;
  assert_int_equal(PRESSURE_HIGH, pressure_next(&defaults, PRESSURE_HIGH, 8801));
  assert_int_equal(PRESSURE_MODERATE, pressure_next(&defaults, PRESSURE_HIGH, 8799));
  assert_int_equal(PRESSURE_MODERATE, pressure_next(&defaults, PRESSURE_CRITICAL, 7400));
  assert_int_equal(PRESSURE_LOW, pressure_next(&defaults, PRESSURE_CRITICAL, 7200));
}

static void a_tremble_of_a_point_changes_nothing(void **state) {
  (void)state;
  unsigned seed = 1;
  for (uint32_t middle = 0; middle <= 10000; middle += 100) {
    enum pressure_level level = pressure_next(&defaults, PRESSURE_LOW, middle);
    unsigned changes = 0;
    for (unsigned i = 0; i < 200; i++) {
      seed = seed * 1664525u + 1013904223u;
      uint32_t percent = middle + (seed >> 8) % 100;
      enum pressure_level next = pressure_next(&defaults, level, percent);
      changes += next != level;
      level = next;
    }
    assert_true(changes <= 1);
  }
}

/* A walk by steps of all sizes, held against the rule itself: a level goes up when its threshold is
 * reached, and down when use is more than two points below the threshold of the level left. */
static void a_random_walk_keeps_the_rule(void **state) {
  (void)state;
  static const uint32_t enters[] = {0, 7500, 9000, 9500};
  enum pressure_level level = PRESSURE_LOW;
  unsigned seed = 7, moves[4] = {0};
  int percent = 5000;
  for (unsigned i = 0; i < 100000; i++) {
    seed = seed * 1664525u + 1013904223u;
    int reach = (seed >> 20) % 16 ? 150 : 3000;
    percent += (int)((seed >> 8) % (unsigned)(2 * reach + 1)) - reach;
    percent = percent < 6500 ? 6500 : percent > 10500 ? 10500 : percent;
    int expected = (int)level;
    while (expected < PRESSURE_CRITICAL && percent >= (int)enters[expected + 1])
      expected++;
    while (expected > PRESSURE_LOW && percent < (int)enters[expected] - PRESSURE_HYSTERESIS)
      expected--;
    enum pressure_level next = pressure_next(&defaults, level, (uint32_t)percent);
    assert_int_equal(expected, next);
    moves[next] += next != level;
    level = next;
  }
  for (unsigned i = 0; i < 4; i++)
    assert_true(moves[i] > 100);
}

static void the_percentage_is_the_worse_of_two(void **state) {
  (void)state;
  struct pressure_figures figures = {.used_bytes = 60,
                                     .reclaimable_cache_bytes = 10,
                                     .total_bytes = 100,
                                     .committed_bytes = 30,
                                     .limit_bytes = 40};
  assert_int_equal(7500, pressure_percent(&figures));
  figures.limit_bytes = 100;
  assert_int_equal(5000, pressure_percent(&figures));
  figures.reclaimable_cache_bytes = 90;
  figures.committed_bytes = 0;
  assert_int_equal(0, pressure_percent(&figures));
}

static void names_are_those_of_the_contract(void **state) {
  (void)state;
  assert_string_equal("low", pressure_name(PRESSURE_LOW));
  assert_string_equal("moderate", pressure_name(PRESSURE_MODERATE));
  assert_string_equal("high", pressure_name(PRESSURE_HIGH));
  assert_string_equal("critical", pressure_name(PRESSURE_CRITICAL));
}

static void thresholds_rise(void **state) {
  (void)state;
  static const struct pressure_thresholds bad[] = {
      {0, 9000, 9500}, {9000, 9000, 9500}, {7500, 9500, 9000}, {7500, 9000, 10001}};
  assert_true(pressure_thresholds_valid(&defaults));
  assert_true(pressure_thresholds_valid(&(struct pressure_thresholds){1, 2, 10000}));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_false(pressure_thresholds_valid(&bad[i]));
}

#define SECOND UINT64_C(1000000000)

/* A strain over seconds of what is seen: 's' stuck, '.' neither, 'c' calm; "on" as 1 for each. */
static void expect_strain(const char *seen, const char *on) {
  struct pressure_strain strain = {.on = false};
  for (size_t i = 0; seen[i]; i++) {
    const struct pressure_sight sight = {
        .stuck = seen[i] == 's', .below_high = seen[i] == 'c', .now_ns = (i + 1) * SECOND};
    pressure_strain_next(&strain, &sight);
    if (strain.on != (on[i] == '1'))
      fail_msg("%s, second %zu: %d", seen, i, strain.on);
  }
}

static void a_strain_is_entered_when_it_lasts(void **state) {
  (void)state;
  expect_strain("ssss.sssssss", "000000000011");
  expect_strain("sssssss", "0000011");
}

static void a_strain_is_left_ten_seconds_below_high(void **state) {
  (void)state;
  expect_strain("ssssssccccccccccc.", "000001111111111100");
  expect_strain("ssssssccccccccc.ccccccccccc", "000001111111111111111111110");
}

static void stalls_raise_the_level_for_a_while(void **state) {
  (void)state;
  struct pressure_stalls stalls = {0, 0};
  assert_int_equal(PRESSURE_LOW, pressure_stall_level(&stalls, 100 * SECOND));
  stalls.some_at = 100 * SECOND;
  assert_int_equal(PRESSURE_MODERATE, pressure_stall_level(&stalls, 100 * SECOND));
  stalls.full_at = 101 * SECOND;
  assert_int_equal(PRESSURE_HIGH, pressure_stall_level(&stalls, 110 * SECOND));
  assert_int_equal(PRESSURE_LOW, pressure_stall_level(&stalls, 111 * SECOND));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(levels_begin_at_their_thresholds),
      cmocka_unit_test(a_level_is_left_two_points_below),
      cmocka_unit_test(a_tremble_of_a_point_changes_nothing),
      cmocka_unit_test(a_random_walk_keeps_the_rule),
      cmocka_unit_test(names_are_those_of_the_contract),
      cmocka_unit_test(the_percentage_is_the_worse_of_two),
      cmocka_unit_test(thresholds_rise),
      cmocka_unit_test(a_strain_is_entered_when_it_lasts),
      cmocka_unit_test(a_strain_is_left_ten_seconds_below_high),
      cmocka_unit_test(stalls_raise_the_level_for_a_while),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
