/*
 * clock: the kernel's clocks, and a calendar without gmtime: years are counted from March, so that
 * the leap day is a year's last and the length of the months before a date is a linear formula; 400
 * years (an era) have 146,097 days. A handful of multiplications: cheaper than looking up whether
 * the last call had the same second.
 */
#include "base/clock.h"

#include <string.h>
#include <time.h>

#define DAY_SECONDS 86400u
#define DAYS_TO_1970 719468u /* from 0000-03-01 */
#define ERA_DAYS 146097u

static uint64_t read_clock(clockid_t id) {
  struct timespec time;
  clock_gettime(id, &time);
  return (uint64_t)time.tv_sec * CLOCK_SECOND + (uint64_t)time.tv_nsec;
}

uint64_t clock_now(void) { return read_clock(CLOCK_MONOTONIC); }

uint64_t clock_real(void) { return read_clock(CLOCK_REALTIME); }

uint64_t clock_boot(void) { return read_clock(CLOCK_BOOTTIME); }

static void two(char *out, unsigned value) {
  out[0] = (char)('0' + value / 10);
  out[1] = (char)('0' + value % 10);
}

static void write_date(char *out, unsigned days_since_1970) {
  unsigned days = days_since_1970 + DAYS_TO_1970, era = days / ERA_DAYS, day = days % ERA_DAYS;
  unsigned year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
  day -= 365 * year + year / 4 - year / 100;
  unsigned march = (5 * day + 2) / 153; /* months since March */
  day -= (153 * march + 2) / 5;
  unsigned month = march < 10 ? march + 3 : march - 9;
  year += era * 400 + (month <= 2);
  two(out, year / 100);
  two(out + 2, year % 100);
  two(out + 5, month);
  two(out + 8, day + 1);
}

void clock_format(uint64_t realtime_ns, char out[CLOCK_TEXT]) {
  uint64_t seconds = realtime_ns / CLOCK_SECOND;
  unsigned ms = (unsigned)(realtime_ns % CLOCK_SECOND / CLOCK_MS);
  unsigned second = (unsigned)(seconds % DAY_SECONDS);
  memcpy(out, "0000-00-00T00:00:00.000Z", CLOCK_TEXT);
  write_date(out, (unsigned)(seconds / DAY_SECONDS));
  two(out + 11, second / 3600);
  two(out + 14, second / 60 % 60);
  two(out + 17, second % 60);
  out[20] = (char)('0' + ms / 100);
  two(out + 21, ms % 100);
}

struct timespec clock_timespec(uint64_t ns) {
  return (struct timespec){.tv_sec = (time_t)(ns / CLOCK_SECOND),
                           .tv_nsec = (long)(ns % CLOCK_SECOND)};
}
