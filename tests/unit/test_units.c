/* units: sizes and durations are read exactly or not at all; arithmetic does not overflow unseen.
 */
#include "base/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct example {
  const char *text;
  uint64_t value;
};

static void sizes_are_read(void **state) {
  (void)state;
  const struct example examples[] = {
      {"0", 0},
      {"4096", 4096},
      {"4096B", 4096},
      {"8GiB", 8 * GIB},
      {"512M", 512 * MIB},
      {"512mb", 512 * MIB},
      {"1.5g", GIB + GIB / 2},
      {"0.1k", 102},
      {"3 TiB", 3072 * GIB},
      {"4E", UINT64_C(1) << 62},
      {"4611686018427387904", UINT64_C(1) << 62},
      {"4611686018427387903", (UINT64_C(1) << 62) - 1},
  };
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
    uint64_t bytes = 77;
    assert_true(units_parse(examples[i].text, &bytes));
    assert_true(bytes == examples[i].value);
  }
}

static void anything_else_is_no_size(void **state) {
  (void)state;
  const char *const texts[] = {
      "",
      "GiB",
      "-1",
      "+1",
      " 1",
      "1 ",
      "1  k",
      "1.5",
      "1.5B",
      "1.",
      ".5g",
      "1,5g",
      "1x",
      "1Gi",
      "1iB",
      "1G B",
      "1gg",
      "1GiBs",
      "0x10",
      "1e3",
      "1kb k",
      "inf",
      "4611686018427387905",
      "5E",
      "4.000000001E",
      "18446744073709551616",
      "99999999999999999999999999",
      "1.0000000001k",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    uint64_t bytes = 77;
    assert_false(units_parse(texts[i], &bytes));
    assert_true(bytes == 77);
  }
}

static void sizes_are_shown_with_one_decimal(void **state) {
  (void)state;
  const struct example examples[] = {
      {"0 B", 0},
      {"1023 B", 1023},
      {"1.0 KiB", 1024},
      {"8.0 GiB", 8 * GIB},
      {"1.5 MiB", 3 * MIB / 2},
      {"1.0 MiB", MIB - 1},
      {"1023.9 KiB", MIB - 100},
      {"16.0 EiB", UINT64_MAX},
  };
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
    char text[32];
    assert_string_equal(units_format(examples[i].value, text, sizeof text), examples[i].text);
  }
}

static void a_small_room_cuts_the_text(void **state) {
  (void)state;
  char text[4];
  assert_string_equal(units_format(8 * GIB, text, sizeof text), "8.0");
}

static void durations_are_read(void **state) {
  (void)state;
  const struct example examples[] = {
      {"5", UINT64_C(5000000000)},
      {"0", 0},
      {"250ms", 250000000},
      {"2s", UINT64_C(2000000000)},
      {"1.5m", UINT64_C(90000000000)},
      {"1h", UINT64_C(3600000000000)},
      {"7d", UINT64_C(604800000000000)},
  };
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
    uint64_t ns = 77;
    assert_true(units_parse_duration(examples[i].text, &ns));
    assert_true(ns == examples[i].value);
  }
}

static void anything_else_is_no_duration(void **state) {
  (void)state;
  const char *const texts[] = {"", "h", "-1s", "1 s", "1H", "1w", "1hh", "1h30m", "999999999d"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    uint64_t ns = 77;
    assert_false(units_parse_duration(texts[i], &ns));
    assert_true(ns == 77);
  }
}

static void overflow_is_seen(void **state) {
  (void)state;
  uint64_t result = 0;
  assert_false(units_add(UINT64_MAX, 1, &result));
  assert_true(units_add(UINT64_MAX - 1, 1, &result));
  assert_true(result == UINT64_MAX);
  assert_false(units_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &result));
  assert_true(units_mul(UINT64_C(1) << 31, 4, &result));
  assert_true(result == UINT64_C(1) << 33);
}

static void figures_stop_at_zero(void **state) {
  (void)state;
  assert_true(units_minus(3, 5) == 0);
  assert_true(units_minus(5, 3) == 2);
}

static void powers_round_up(void **state) {
  (void)state;
  assert_true(units_power_up(1) == 1);
  assert_true(units_power_up(3) == 4);
  assert_true(units_power_up(4) == 4);
  assert_true(units_power_up((UINT64_C(1) << 62) + 1) == UINT64_C(1) << 63);
  assert_true(units_power_up(UINT64_C(1) << 63) == UINT64_C(1) << 63);
  assert_true(units_up(4097, 4096) == 8192);
  assert_true(units_up(4096, 4096) == 4096);
  assert_true(units_is_power(64));
  assert_false(units_is_power(0));
  assert_false(units_is_power(65));
}

static void percentages_are_rounded_hundredths(void **state) {
  (void)state;
  assert_int_equal(units_percent(1, 3), 3333);
  assert_int_equal(units_percent(2, 3), 6667);
  assert_int_equal(units_percent(5, 0), 0);
  assert_int_equal(units_percent(UINT64_MAX, UINT64_MAX), 10000);
  assert_true(units_percent(UINT64_MAX, 1) == UINT32_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_are_read),
      cmocka_unit_test(anything_else_is_no_size),
      cmocka_unit_test(sizes_are_shown_with_one_decimal),
      cmocka_unit_test(a_small_room_cuts_the_text),
      cmocka_unit_test(durations_are_read),
      cmocka_unit_test(anything_else_is_no_duration),
      cmocka_unit_test(overflow_is_seen),
      cmocka_unit_test(figures_stop_at_zero),
      cmocka_unit_test(powers_round_up),
      cmocka_unit_test(percentages_are_rounded_hundredths),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
