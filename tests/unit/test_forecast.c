/* forecast: what rises is foretold within a tenth, and what does not is left alone. */
#include "memory/forecast.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define MIB 1048576.0
#define GIB (1024 * MIB)
#define SECONDS 3600
#define NOISE (4 * MIB)

static struct forecast_point series[SECONDS];
static unsigned seed;

/* -1 … 1 */
static double chance(void) {
  seed = seed * 1664525u + 1013904223u;
  return (double)(seed >> 8) / (double)(1u << 23) - 1;
}

/* A sample each second, with noise; every 20th is wild where that is wanted. */
static struct forecast look(double (*level)(double seconds), int seconds, bool wild) {
  for (int i = 0; i < seconds; i++) {
    double bytes = level(i) + NOISE * chance();
    if (wild && i % 20 == 7)
      bytes += 3 * GIB;
    series[i] = (struct forecast_point){i, bytes};
  }
  return forecast_make(series, (uint32_t)seconds);
}

static double leak(double t) { return 2 * GIB + t * MIB; }
static double late_leak(double t) { return 2 * GIB + (t > 3000 ? (t - 3000) * MIB : 0); }
static double flat(double t) { return 5 * GIB + 0 * t; }
static double emptying(double t) { return 8 * GIB - t * MIB; }
static double step(double t) { return t < 150 ? GIB : 3 * GIB; }
static double late_step(double t) { return t < 3450 ? GIB : 3 * GIB; }
static double saw(double t) { return GIB + fmod(t, 40) * 20 * MIB; }
static double slow_saw(double t) { return GIB + fmod(t, 900) * 2 * MIB; }

static void a_leak_is_foretold_within_a_tenth(void **state) {
  (void)state;
  for (seed = 1; seed < 20000; seed += 1000)
    for (int wild = 0; wild < 2; wild++) {
      struct forecast found = look(leak, 300, wild);
      struct forecast_time full = forecast_when(&found, 16 * GIB);
      double truth = 14 * 1024 - 300;
      assert_int_equal(FORECAST_RISING, found.direction);
      assert_true(fabs(full.expected - truth) < truth / 10);
      assert_true(full.earliest <= full.expected);
      assert_true(full.latest >= full.expected);
    }
}

static void the_band_holds_the_truth_nine_times_in_ten(void **state) {
  (void)state;
  int held = 0, narrow = 0;
  for (unsigned i = 0; i < 200; i++) {
    seed = 77 + i * 7919;
    struct forecast found = look(leak, 300, i % 2);
    struct forecast_time full = forecast_when(&found, 16 * GIB);
    double truth = 14 * 1024 - 300;
    held += full.earliest <= truth && truth <= full.latest;
    narrow += full.latest - full.earliest < truth / 4;
  }
  assert_true(held >= 170);
  assert_true(narrow >= 190);
}

/* Steps of -15 to 35 MiB a second. */
static void what_strays_has_a_band_as_wide(void **state) {
  (void)state;
  int rising = 0, held = 0;
  for (unsigned i = 0; i < 200; i++) {
    seed = 5 + i * 7919;
    double bytes = 2 * GIB, truth = -1;
    for (int at = 0; at < SECONDS; at++) {
      bytes += 10 * MIB + 25 * MIB * chance();
      if (bytes >= 12 * GIB && truth < 0)
        truth = at - 299;
      series[at] = (struct forecast_point){at, bytes};
    }
    struct forecast found = forecast_make(series, 300);
    struct forecast_time full = forecast_when(&found, 12 * GIB);
    rising += full.expected > 0;
    held += full.earliest <= truth && truth <= full.latest;
  }
  assert_true(rising >= 190);
  assert_true(held >= 160);
}

static void a_walk_by_chance_is_seldom_a_rise(void **state) {
  (void)state;
  int rising = 0;
  for (unsigned i = 0; i < 200; i++) {
    seed = 11 + i * 7919;
    double bytes = 8 * GIB;
    for (int at = 0; at < 300; at++) {
      bytes += 25 * MIB * chance();
      series[at] = (struct forecast_point){at, bytes};
    }
    rising += forecast_make(series, 300).direction == FORECAST_RISING;
  }
  assert_true(rising <= 20);
}

static void one_that_began_after_an_hour_as_well(void **state) {
  (void)state;
  seed = 5;
  struct forecast found = look(late_leak, 3300, false);
  assert_int_equal(FORECAST_RISING, found.direction);
  assert_true(fabs(found.bytes_per_second - MIB) < MIB / 10);
}

static void what_does_not_rise_is_not_said_to(void **state) {
  static const struct {
    double (*level)(double seconds);
    int from; /* before, it is what rises: a first tooth */
  } rows[] = {{flat, 30}, {step, 160}, {late_step, 3460}, {saw, 80}, {slow_saw, 1000}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int seconds = rows[i].from; seconds <= SECONDS; seconds += 7) {
      seed = (unsigned)seconds;
      struct forecast found = look(rows[i].level, seconds, i == 0);
      assert_int_not_equal(FORECAST_RISING, found.direction);
      assert_true(forecast_when(&found, 16 * GIB).expected < 0);
    }
}

static void what_falls_is_said_to(void **state) {
  (void)state;
  seed = 9;
  struct forecast found = look(emptying, 600, true);
  assert_int_equal(FORECAST_FALLING, found.direction);
  assert_true(found.bytes_per_second < -0.9 * MIB);
  assert_true(forecast_when(&found, 16 * GIB).expected < 0);
}

static void from_little_nothing_is_foretold(void **state) {
  (void)state;
  for (int seconds = 0; seconds < 10; seconds++)
    assert_int_equal(FORECAST_STEADY, look(leak, seconds, false).direction);
}

static void a_full_memory_is_full_now(void **state) {
  (void)state;
  seed = 3;
  struct forecast found = look(leak, 300, false);
  assert_int_equal(FORECAST_RISING, found.direction);
  assert_true(forecast_when(&found, 2 * GIB).expected == 0);
}

static void what_will_be_too_much_is_told_in_bytes(void **state) {
  (void)state;
  struct forecast found = {
      .direction = FORECAST_RISING, .level = 8 * GIB, .bytes_per_second = MIB, .seconds = 300};
  assert_true(forecast_excess(&found, 8 * GIB, 60) == 60 * MIB);
  assert_true(forecast_excess(&found, 8 * GIB + 60 * MIB, 60) == 0);
  assert_true(forecast_excess(&found, 9 * GIB, 60) == 0);
  assert_true(forecast_excess(&found, 7 * GIB, 0) == GIB); /* it is there already */
  found.wander = 4 * MIB;                                  /* 60 MiB in some 25 to 170 s */
  assert_true(forecast_excess(&found, 8 * GIB + 60 * MIB, 100) == 0);
  assert_true(forecast_excess(&found, 8 * GIB + 60 * MIB, 300) == 240 * MIB);
  found.direction = FORECAST_STEADY;
  assert_true(forecast_excess(&found, 8 * GIB, 60) == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_will_be_too_much_is_told_in_bytes),
      cmocka_unit_test(a_leak_is_foretold_within_a_tenth),
      cmocka_unit_test(the_band_holds_the_truth_nine_times_in_ten),
      cmocka_unit_test(what_strays_has_a_band_as_wide),
      cmocka_unit_test(a_walk_by_chance_is_seldom_a_rise),
      cmocka_unit_test(one_that_began_after_an_hour_as_well),
      cmocka_unit_test(what_does_not_rise_is_not_said_to),
      cmocka_unit_test(what_falls_is_said_to),
      cmocka_unit_test(from_little_nothing_is_foretold),
      cmocka_unit_test(a_full_memory_is_full_now),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
