/*
 * cursor: a count or a length is compared with the bytes that are left before it is multiplied or
 * added to anything, so no sum here can overflow.
 */
#include "model/cursor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "model/text.h"

void cursor_about(struct cursor *c, const char *what, uint64_t number) {
  c->what = what;
  c->number = number;
  c->name = (struct cursor_text){0};
}

enum status cursor_refuse(struct cursor *c, const char *format, ...) {
  char reason[160], name[TEXT_SHORT];
  va_list args;
  va_start(args, format);
  vsnprintf(reason, sizeof reason, format, args);
  va_end(args);
  if (c->name.at)
    return problem_set(c->problem, STATUS_MODEL_FORMAT_INVALID, "%s \"%s\" %s", c->what,
                       text_shorten(c->name.at, c->name.n, name), reason);
  if (c->number)
    return problem_set(c->problem, STATUS_MODEL_FORMAT_INVALID, "%s %" PRIu64 " %s", c->what,
                       c->number, reason);
  return problem_set(c->problem, STATUS_MODEL_FORMAT_INVALID, "%s %s", c->what, reason);
}

enum status cursor_room(struct cursor *c, uint64_t bytes) {
  if (bytes > c->end - c->at && c->end < c->file_size)
    return cursor_refuse(c, "goes beyond the %" PRIu64 " bytes that a header may have", c->end);
  if (bytes > c->end - c->at)
    return cursor_refuse(c, "is cut off: the file has %" PRIu64 " bytes", c->file_size);
  if (bytes <= c->n - c->at)
    return STATUS_OK;
  c->need = c->at + bytes;
  return STATUS_PENDING;
}

enum status cursor_room_for(struct cursor *c, uint64_t count, uint64_t least, const char *things) {
  if (count > (c->end - c->at) / least)
    return cursor_refuse(c, "announces %" PRIu64 " %s, %" PRIu64 " bytes are left", count, things,
                         c->end - c->at);
  return cursor_room(c, count * least);
}

static uint64_t load(const uint8_t *at, unsigned size) {
  uint64_t value = 0;
  for (unsigned i = size; i-- > 0;)
    value = value << 8 | at[i];
  return value;
}

enum status cursor_take(struct cursor *c, unsigned size, uint64_t *out) {
  enum status status = cursor_room(c, size);
  if (status)
    return status;
  *out = load(c->bytes + c->at, size);
  c->at += size;
  return STATUS_OK;
}

enum status cursor_take_text(struct cursor *c, uint64_t max, struct cursor_text *out) {
  uint64_t n;
  enum status status = cursor_take(c, 8, &n);
  if (status)
    return status;
  if (n > max)
    return cursor_refuse(c, "has a name of %" PRIu64 " bytes, at most %" PRIu64, n, max);
  status = cursor_room_for(c, n, 1, "bytes of text");
  if (status)
    return status;
  *out = (struct cursor_text){(const char *)c->bytes + c->at, (size_t)n};
  c->at += n;
  return STATUS_OK;
}
