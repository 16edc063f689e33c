/*
 * clock: the three clocks and how times look. Nanoseconds everywhere.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_SECOND UINT64_C(1000000000)
#define CLOCK_MS UINT64_C(1000000)
#define CLOCK_TEXT 25 /* "2026-11-23T08:32:08.123Z" and NUL */

uint64_t clock_now(void);  /* CLOCK_MONOTONIC: durations, deadlines */
uint64_t clock_real(void); /* CLOCK_REALTIME: what users see */
uint64_t clock_boot(void); /* CLOCK_BOOTTIME: leases; a corrected clock frees nobody's memory */
/* For calls that take a deadline so. */
struct timespec clock_timespec(uint64_t ns);
/* ISO-8601 UTC with milliseconds; ~20 ns, no state. */
void clock_format(uint64_t realtime_ns, char out[CLOCK_TEXT]);

#endif
