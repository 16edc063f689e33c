/*
 * sum_wide: the header-only library once more, compiled for AVX2, which Debian's baseline does not
 * have: a quarter faster on memory, twice in the cache. The state has the same layout either way.
 */
#include "worker/sum_wide.h"

#if defined(__x86_64__) && !defined(__clang__)
#pragma GCC target("avx2")
#define SUM_WIDE_WORKS __builtin_cpu_supports("avx2")
#else
#define SUM_WIDE_WORKS false
#endif
#define XXH_INLINE_ALL
#include <xxhash.h>

bool sum_wide_works(void) { return SUM_WIDE_WORKS; }

void sum_wide_add(void *state, const void *bytes, size_t n) { XXH3_64bits_update(state, bytes, n); }
