/*
 * sum: XXH3-64 of a stream of bytes, as wide as this CPU can. One thread at a time.
 */
#ifndef WORKER_SUM_H
#define WORKER_SUM_H

#include <stddef.h>
#include <stdint.h>

struct sum;

/* NULL: no memory. */
struct sum *sum_create(void);
void sum_free(struct sum *sum); /* NULL is fine */
void sum_add(struct sum *sum, const void *bytes, size_t n);
uint64_t sum_get(const struct sum *sum);

#endif
