/*
 * buf: bytes that grow up to a cap. A write that does not fit sets `failed` and changes nothing
 * more, so that a series of writes is checked once, at its end.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
  char *data; /* not NUL-terminated unless buf_text was called */
  size_t size, space, cap;
  bool failed; /* the cap or malloc said no: nothing more is written until buf_reset */
};

void buf_init(struct buf *buf, size_t cap);
void buf_done(struct buf *buf);
/* Forgets the contents, keeps the memory unless it is larger than 64 KiB. */
void buf_reset(struct buf *buf);
/* Room for n more bytes at the end, or NULL (and failed). Does not change size: add to it what you
 * wrote. */
char *buf_reserve(struct buf *buf, size_t n);
void buf_add(struct buf *buf, const void *data, size_t n);
void buf_print(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* NUL-terminates and returns data; "" when empty or failed. Valid until the next write. */
const char *buf_text(struct buf *buf);
/* Drops n bytes from the front. */
void buf_shift(struct buf *buf, size_t n);
/* Moves the memory out, NUL-terminated: the caller frees with free(). *size gets the length. NULL
 * if nothing was ever written; look at `failed` before. The buf is as after buf_init. */
char *buf_take(struct buf *buf, size_t *size);

#define BUF_CLEANUP __attribute__((cleanup(buf_done)))

#endif
