/*
 * units: sizes in text, and arithmetic that cannot overflow unseen.
 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

/* "8GiB", "512M" (= MiB), "1.5g", "4096": bytes. Units are powers of 1024, "B" alone is bytes.
 * False for anything else, and beyond 2^62. */
bool units_parse(const char *text, uint64_t *bytes);
/* "8.0 GiB", "512 B". Returns out. */
const char *units_format(uint64_t bytes, char *out, size_t size);
/* "5", "250ms", "1h", "7d": nanoseconds; a bare number is seconds. */
bool units_parse_duration(const char *text, uint64_t *ns);

static inline bool units_add(uint64_t a, uint64_t b, uint64_t *sum) {
  return !__builtin_add_overflow(a, b, sum);
}
static inline bool units_mul(uint64_t a, uint64_t b, uint64_t *product) {
  return !__builtin_mul_overflow(a, b, product);
}
/* b > a gives 0: figures never go below it. */
static inline uint64_t units_minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
static inline uint64_t units_min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t units_max(uint64_t a, uint64_t b) { return a > b ? a : b; }
/* Up to a multiple of a power of two; the caller knows that it fits. */
static inline uint64_t units_up(uint64_t value, uint64_t power) {
  return (value + power - 1) & ~(power - 1);
}
static inline bool units_is_power(uint64_t value) { return value && !(value & (value - 1)); }
/* The smallest power of two >= value (value 1 … 2^63). */
static inline uint64_t units_power_up(uint64_t value) {
  return value <= 1 ? 1 : UINT64_C(1) << (64 - __builtin_clzll(value - 1));
}
/* 100.00 * part / whole as hundredths (0 when whole is 0), rounded; what does not fit is
 * UINT32_MAX. */
static inline uint32_t units_percent(uint64_t part, uint64_t whole) {
  if (!whole)
    return 0;
  unsigned __int128 hundredths = ((unsigned __int128)part * 10000 + whole / 2) / whole;
  return hundredths < UINT32_MAX ? (uint32_t)hundredths : UINT32_MAX;
}

#endif
