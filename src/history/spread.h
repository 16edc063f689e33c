/*
 * spread: how often which value was seen, in 32 buckets to a doubling, so that a percentile of many
 * rows is read within 2 %. Pure.
 */
#ifndef HISTORY_SPREAD_H
#define HISTORY_SPREAD_H

#include <stddef.h>
#include <stdint.h>

#define SPREAD_BUCKETS 1920
#define SPREAD_PACKED (UINT64_C(3600) * 4) /* bytes at most, of one hour */

struct spread {
  uint32_t counts[SPREAD_BUCKETS];
};

void spread_add(struct spread *spread, uint64_t value, uint32_t count);
/* As it lies in a row: 16 bits of bucket and 16 of count for each that is not empty. Returns the
 * size; out[SPREAD_PACKED]. Counts beyond 65535, and pairs that do not fit, are cut. */
size_t spread_pack(const struct spread *spread, void *out);
/* Adds what was packed; any bytes will do. */
void spread_unpack(struct spread *spread, const void *bytes, size_t size);
/* The middle of the bucket in which this hundredth lies, 1 … 100; 0 of an empty one. */
uint64_t spread_percentile(const struct spread *spread, unsigned hundredth);

#endif
