/*
 * writer: JSON out, streamed into a struct buf: no tree, no allocation but the buffer's. Keys are C
 * literals in camelCase; with WRITER_SNAKE they come out as snake_case (sizeBytes -> size_bytes),
 * so that one encoder serves both doors. A key of NULL writes an array element. Commas are the
 * writer's business. Strings from outside are escaped and checked: a byte that is not UTF-8 comes
 * out as U+FFFD.
 *
 * Failure is the buffer's: look at out->failed at the end. It may come up to 100 bytes before the
 * cap, because a member reserves for its largest value; deeper than WRITER_DEPTH is a failure too.
 *
 * Cost matters here (status is ~70 members at 50,000 requests/s): integers and what is a
 * decimal shift of one never go through printf.
 */
#ifndef BASE_WRITER_H
#define BASE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define WRITER_DEPTH 32

enum writer_names { WRITER_CAMEL, WRITER_SNAKE };

struct writer {
  struct buf *out;
  enum writer_names names;
  bool comma; /* the next member needs one before it */
  char closers[WRITER_DEPTH];
  unsigned depth;
};

void writer_init(struct writer *w, struct buf *out, enum writer_names names);
void writer_object(struct writer *w, const char *key);
void writer_array(struct writer *w, const char *key);
/* Ends the innermost object or array; there must be one. */
void writer_end(struct writer *w);
void writer_uint(struct writer *w, const char *key, uint64_t value);
/* UINT64_MAX, which stands for what is not known, is null. */
void writer_bytes(struct writer *w, const char *key, uint64_t bytes);
void writer_int(struct writer *w, const char *key, int64_t value);
/* 0 is null. */
void writer_uint_or_null(struct writer *w, const char *key, uint64_t value);
void writer_bool(struct writer *w, const char *key, bool value);
void writer_null(struct writer *w, const char *key);
/* NULL text is null. */
void writer_text(struct writer *w, const char *key, const char *text);
void writer_text_n(struct writer *w, const char *key, const char *text, size_t n);
/* Like writer_text, but the empty string is null too. */
void writer_text_or_null(struct writer *w, const char *key, const char *text);
/* An array of the words of a list like "one,two"; of none for "". */
void writer_words(struct writer *w, const char *key, const char *list);
/* 4567 -> 45.67, 4500 -> 45, 4550 -> 45.5: at most two decimals. */
void writer_hundredths(struct writer *w, const char *key, uint64_t hundredths);
/* Nanoseconds as milliseconds: 208831 -> 0.208831, 1500000 -> 1.5. */
void writer_ms(struct writer *w, const char *key, uint64_t ns);
/* Shortest form that reads back the same; NaN and infinities are null. */
void writer_double(struct writer *w, const char *key, double value);
/* Nanoseconds since 1970 as "2026-11-23T08:32:08.123Z"; 0 is null. */
void writer_time(struct writer *w, const char *key, uint64_t realtime_ns);
/* base/id form: "a-1f0c000000000042"; id 0 is null. */
void writer_id(struct writer *w, const char *key, char prefix, uint64_t id);
/* Text that is JSON already. */
void writer_raw(struct writer *w, const char *key, const char *json, size_t n);
/* A member whose key comes from data (not a literal): escaped, never renamed. Follow it with a call
 * whose key is NULL. */
void writer_key(struct writer *w, const char *key);

#endif
