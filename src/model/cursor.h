/*
 * cursor: a walk over the beginning of a hostile file, of which not all need be there yet. Before
 * every step stands one question (room): does what comes next end inside the file and the cap, and
 * inside the bytes that were given? Nothing is read, skipped or looped over but behind it.
 */
#ifndef MODEL_CURSOR_H
#define MODEL_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"

struct cursor_text { /* borrowed from the bytes */
  const char *at;
  size_t n;
};

struct cursor {
  const uint8_t *bytes;
  uint64_t at, n, end; /* at <= n <= end; end: of the file, or a cap that is less */
  uint64_t file_size;
  uint64_t need; /* after PENDING: n must be at least this */
  struct problem *problem;
  const char *what; /* that is being read: the subject of a refusal. Then its name, or its number */
  uint64_t number;
  struct cursor_text name;
};

/* What is read from here on. number: from 1; 0: there is only one. Clears the name. */
void cursor_about(struct cursor *c, const char *what, uint64_t number);
/* MODEL_FORMAT_INVALID: `tensor "x" <format>`. */
enum status cursor_refuse(struct cursor *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* OK; PENDING: more bytes are needed (c->need); MODEL_FORMAT_INVALID: the file or the cap ends
 * before. So all below. */
enum status cursor_room(struct cursor *c, uint64_t bytes);
/* For `count` things of at least `least` bytes each; `things` for the sentence. */
enum status cursor_room_for(struct cursor *c, uint64_t count, uint64_t least, const char *things);
/* A little-endian number of 1 to 8 bytes. */
enum status cursor_take(struct cursor *c, unsigned size, uint64_t *out);
/* A length of 8 bytes, at most `max`, and so many bytes. */
enum status cursor_take_text(struct cursor *c, uint64_t max, struct cursor_text *out);

#endif
