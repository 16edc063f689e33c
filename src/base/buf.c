/*
 * buf: memory doubles until the cap. One byte more than `space` is always allocated, so that a NUL
 * fits behind a buffer that is full to its cap. A buffer that failed stays as it is until
 * buf_reset: no later, smaller write may slip in behind one that is missing.
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SPACE 256 /* a small answer without a second malloc */
#define KEEP_SPACE                                                                                 \
  ((size_t)64 * 1024) /* one large answer must not stay with a connection for ever */

void buf_init(struct buf *buf, size_t cap) {
  *buf = (struct buf){.cap = cap < SIZE_MAX / 2 ? cap : SIZE_MAX / 2};
}

void buf_done(struct buf *buf) {
  free(buf->data);
  *buf = (struct buf){.cap = buf->cap};
}

void buf_reset(struct buf *buf) {
  if (buf->space > KEEP_SPACE)
    buf_done(buf);
  buf->size = 0;
  buf->failed = false;
}

static bool grow(struct buf *buf, size_t n) {
  if (n > buf->cap - buf->size)
    return false;
  size_t space = buf->space ? 2 * buf->space : FIRST_SPACE;
  if (space < buf->size + n)
    space = buf->size + n;
  if (space > buf->cap)
    space = buf->cap;
  char *data = realloc(buf->data, space + 1);
  if (!data)
    return false;
  buf->data = data;
  buf->space = space;
  return true;
}

char *buf_reserve(struct buf *buf, size_t n) {
  if (buf->failed)
    return NULL;
  if (!buf->data || n > buf->space - buf->size) {
    if (!grow(buf, n)) {
      buf->failed = true;
      return NULL;
    }
  }
  return buf->data + buf->size;
}

void buf_add(struct buf *buf, const void *data, size_t n) {
  char *at = buf_reserve(buf, n);
  if (!at || !n)
    return;
  memcpy(at, data, n);
  buf->size += n;
}

void buf_print(struct buf *buf, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  char *at = n < 0 ? NULL : buf_reserve(buf, (size_t)n);
  if (!at) {
    buf->failed = true;
    return;
  }
  va_start(args, format);
  vsnprintf(at, (size_t)n + 1, format, args);
  va_end(args);
  buf->size += (size_t)n;
}

const char *buf_text(struct buf *buf) {
  if (buf->failed || !buf->data)
    return "";
  buf->data[buf->size] = '\0';
  return buf->data;
}

void buf_shift(struct buf *buf, size_t n) {
  if (n > buf->size)
    n = buf->size;
  if (!n)
    return;
  buf->size -= n;
  memmove(buf->data, buf->data + n, buf->size);
}

char *buf_take(struct buf *buf, size_t *size) {
  char *data = buf->data;
  if (data)
    data[buf->size] = '\0';
  *size = buf->size;
  *buf = (struct buf){.cap = buf->cap};
  return data;
}
