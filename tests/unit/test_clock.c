/* clock: the calendar agrees with libc's on every day of the range, the clocks with the kernel's.
 */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <time.h>

#include <cmocka.h>

static void a_time_has_one_form(void **state) {
  (void)state;
  char text[CLOCK_TEXT];
  clock_format(UINT64_C(1795422728123) * CLOCK_MS + 999999, text);
  assert_string_equal(text, "2026-11-23T08:32:08.123Z");
  clock_format(0, text);
  assert_string_equal(text, "1970-01-01T00:00:00.000Z");
  clock_format(UINT64_MAX, text);
  assert_string_equal(text, "2554-07-21T23:34:33.709Z");
}

static void every_day_agrees_with_libc(void **state) {
  (void)state;
  char ours[CLOCK_TEXT], date[21], theirs[CLOCK_TEXT + 8];
  struct tm tm;
  for (time_t second = 0; second < 18446000000; second += 86399) {
    gmtime_r(&second, &tm);
    strftime(date, sizeof date, "%FT%T", &tm);
    snprintf(theirs, sizeof theirs, "%s.%03uZ", date, (unsigned)(second % 1000));
    clock_format((uint64_t)second * CLOCK_SECOND + (uint64_t)(second % 1000) * CLOCK_MS, ours);
    assert_string_equal(ours, theirs);
  }
}

static void now_never_goes_back(void **state) {
  (void)state;
  uint64_t before = clock_now();
  for (int i = 0; i < 1000; i++) {
    uint64_t now = clock_now();
    assert_true(now >= before);
    before = now;
  }
}

static uint64_t kernel(clockid_t id) {
  struct timespec time;
  clock_gettime(id, &time);
  return (uint64_t)time.tv_sec * CLOCK_SECOND + (uint64_t)time.tv_nsec;
}

static void each_clock_is_the_one_it_says(void **state) {
  (void)state;
  uint64_t before = kernel(CLOCK_MONOTONIC), now = clock_now();
  assert_true(before <= now && now <= kernel(CLOCK_MONOTONIC));
  before = kernel(CLOCK_BOOTTIME);
  now = clock_boot();
  assert_true(before <= now && now <= kernel(CLOCK_BOOTTIME));
  before = kernel(CLOCK_REALTIME);
  now = clock_real();
  assert_true(before <= now && now <= kernel(CLOCK_REALTIME));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_time_has_one_form),
      cmocka_unit_test(every_day_agrees_with_libc),
      cmocka_unit_test(now_never_goes_back),
      cmocka_unit_test(each_clock_is_the_one_it_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
