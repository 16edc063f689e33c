/*
 * stream: non-temporal stores of whole cache lines (Intel 64 optimization manual, "Non-temporal
 * store instructions"). glibc's memcpy uses them only for single calls of hundreds of MiB. They are
 * weakly ordered, hence the fence.
 */
#include "base/stream.h"

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>

#define LINE 64

static void copy_line(__m128i *to, const __m128i *from) {
  __m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1), c = _mm_loadu_si128(from + 2),
          d = _mm_loadu_si128(from + 3);
  _mm_stream_si128(to, a);
  _mm_stream_si128(to + 1, b);
  _mm_stream_si128(to + 2, c);
  _mm_stream_si128(to + 3, d);
}

void stream_copy(void *to, const void *from, size_t n) {
  char *target = to;
  const char *source = from;
  size_t head = -(uintptr_t)target % LINE;
  if (n < head + LINE) {
    memcpy(to, from, n);
    return;
  }
  memcpy(target, source, head);
  size_t end = n - (n - head) % LINE;
  for (size_t i = head; i < end; i += LINE)
    copy_line((__m128i *)(void *)(target + i), (const __m128i *)(const void *)(source + i));
  _mm_sfence();
  memcpy(target + end, source + end, n - end);
}
#else
void stream_copy(void *to, const void *from, size_t n) { memcpy(to, from, n); }
#endif
