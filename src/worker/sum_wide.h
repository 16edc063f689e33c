/*
 * sum_wide: sum_add for CPUs with AVX2. `state` is an XXH3_state_t.
 */
#ifndef WORKER_SUM_WIDE_H
#define WORKER_SUM_WIDE_H

#include <stdbool.h>
#include <stddef.h>

/* Whether this CPU can. */
bool sum_wide_works(void);
void sum_wide_add(void *state, const void *bytes, size_t n);

#endif
