/*
 * writer: every member reserves once for its comma, key and largest value, then writes without
 * looking. Keys are literals and trusted, so they are copied; their snake_case form is made on the
 * way, without a branch per letter. Integers are written from the right, two digits a step. Text is
 * copied in runs that need no escape, eight bytes looked at together; what stands between two runs
 * is one character to escape, one UTF-8 sequence or one byte that is neither.
 */
#include "base/writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"

#define UINT_DIGITS 20             /* of 2^64 - 1 */
#define DOUBLE_SPACE 32            /* of "%.17g": sign, 17 digits, point, "e-308" */
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define KEY_SPACE 80   /* of a literal with its comma, quotes and colon, in snake_case too */
#define ESCAPE_SPACE 6 /* "\u001f", the longest form of one character */

static char *room(struct buf *out, size_t n) {
  if (!out->failed && out->space - out->size >= n)
    return out->data + out->size;
  return buf_reserve(out, n);
}

static char *copy_snake(char *at, const char *key) {
  for (; *key; key++) {
    unsigned char c = (unsigned char)*key;
    unsigned upper = (unsigned char)(c - 'A') < 26;
    *at = '_';
    at += upper;
    *at++ = (char)(c | upper << 5);
  }
  return at;
}

/* Room for a member with this key and n bytes of value. Most often there is plenty, and the key
 * needs no measuring. */
static char *member_room(struct buf *out, const char *key, size_t n) {
  if (!out->failed && out->space - out->size >= KEY_SPACE + n)
    return out->data + out->size;
  size_t length = key ? strlen(key) : 0;
  return room(out, 2 * length + sizeof ",\"\":" + n);
}

/* Opens a member: where its value goes, with room for n bytes of it. Close it with `finish`. */
static char *begin(struct writer *w, const char *key, size_t n) {
  char *at = member_room(w->out, key, n);
  if (!at)
    return NULL;
  if (w->comma)
    *at++ = ',';
  w->comma = true;
  if (!key)
    return at;
  *at++ = '"';
  at = w->names == WRITER_SNAKE ? copy_snake(at, key) : stpcpy(at, key);
  *at++ = '"';
  *at++ = ':';
  return at;
}

static void finish(struct writer *w, const char *end) {
  w->out->size = (size_t)(end - w->out->data);
}

static unsigned count_digits(uint64_t value) {
  static const uint64_t powers[] = {
      0,
      10,
      100,
      1000,
      10000,
      100000,
      1000000,
      10000000,
      100000000,
      1000000000,
      10000000000,
      100000000000,
      1000000000000,
      10000000000000,
      100000000000000,
      1000000000000000,
      10000000000000000,
      100000000000000000,
      1000000000000000000,
      10000000000000000000u,
  };
  /* 1233 / 4096 is log10(2), close enough for 64 bits */
  unsigned guess = (64 - (unsigned)__builtin_clzll(value | 1)) * 1233 >> 12;
  return guess + (value >= powers[guess]);
}

static char *put_uint(char *at, uint64_t value) {
  static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                              "25262728293031323334353637383940414243444546474849"
                              "50515253545556575859606162636465666768697071727374"
                              "75767778798081828384858687888990919293949596979899";
  char *end = at + count_digits(value);
  at = end;
  for (; value >= 100; value /= 100) {
    at -= 2;
    memcpy(at, pairs + 2 * (value % 100), 2);
  }
  if (value >= 10)
    memcpy(at - 2, pairs + 2 * value, 2);
  else
    at[-1] = (char)('0' + value);
  return end;
}

/* Bytes of the well-formed UTF-8 sequence at text (Unicode 15, table 3-7); 0: there is none. */
static size_t sequence_length(const unsigned char *text, size_t n) {
  unsigned char first = text[0], low = 0x80, high = 0xbf;
  size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || n < length)
    return 0;
  if (first == 0xe0)
    low = 0xa0; /* shorter forms exist */
  if (first == 0xed)
    high = 0x9f; /* surrogates */
  if (first == 0xf0)
    low = 0x90;
  if (first == 0xf4)
    high = 0x8f; /* beyond U+10FFFF */
  if (text[1] < low || text[1] > high)
    return 0;
  for (size_t i = 2; i < length; i++)
    if ((text[i] & 0xc0) != 0x80)
      return 0;
  return length;
}

static bool is_plain(unsigned char c) { return c >= 0x20 && c < 0x80 && c != '"' && c != '\\'; }

/* Bytes before the first that is a control, '"', '\\' or not ASCII. */
static size_t plain_length(const char *text, size_t n) {
  const uint64_t ones = 0x0101010101010101, tops = ones << 7;
  size_t i = 0;
  for (uint64_t word; n - i >= sizeof word; i += sizeof word) {
    memcpy(&word, text + i, sizeof word);
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    if ((word | (word - ones * 0x20) | (quote - ones) | (backslash - ones)) & tops)
      break;
  }
  while (i < n && is_plain((unsigned char)text[i]))
    i++;
  return i;
}

/* Writes what stands at text, which is not plain; *used gets how much of text that was. */
static char *put_special(char *at, const char *text, size_t n, size_t *used) {
  static const char letters[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                 ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
  unsigned char c = (unsigned char)*text;
  *used = 1;
  if (c >= 0x80) {
    size_t length = sequence_length((const unsigned char *)text, n);
    if (!length)
      return mempcpy(at, REPLACEMENT, sizeof REPLACEMENT - 1);
    *used = length;
    return mempcpy(at, text, length);
  }
  *at++ = '\\';
  if (letters[c]) {
    *at++ = letters[c];
    return at;
  }
  at = mempcpy(at, "u00", 3);
  *at++ = (char)('0' + (c >> 4));
  *at++ = "0123456789abcdef"[c & 15];
  return at;
}

/* The rest of a string that is not plain from its first byte on, and its closing quote. */
static void add_special_text(struct buf *out, const char *text, size_t n) {
  while (n) {
    char *at = room(out, ESCAPE_SPACE);
    if (!at)
      return;
    size_t used;
    out->size = (size_t)(put_special(at, text, n, &used) - out->data);
    text += used;
    n -= used;
    size_t plain = plain_length(text, n);
    buf_add(out, text, plain);
    text += plain;
    n -= plain;
  }
  buf_add(out, "\"", 1);
}

void writer_init(struct writer *w, struct buf *out, enum writer_names names) {
  *w = (struct writer){.out = out, .names = names};
}

static void descend(struct writer *w, const char *key, char opener, char closer) {
  char *at = begin(w, key, 1);
  if (!at)
    return;
  if (w->depth == WRITER_DEPTH) {
    w->out->failed = true;
    return;
  }
  *at++ = opener;
  w->closers[w->depth++] = closer;
  w->comma = false;
  finish(w, at);
}

void writer_object(struct writer *w, const char *key) { descend(w, key, '{', '}'); }

void writer_array(struct writer *w, const char *key) { descend(w, key, '[', ']'); }

void writer_end(struct writer *w) {
  char *at = room(w->out, 1);
  if (!at)
    return;
  *at++ = w->closers[--w->depth];
  w->comma = true;
  finish(w, at);
}

void writer_uint(struct writer *w, const char *key, uint64_t value) {
  char *at = begin(w, key, UINT_DIGITS);
  if (at)
    finish(w, put_uint(at, value));
}

void writer_int(struct writer *w, const char *key, int64_t value) {
  char *at = begin(w, key, 1 + UINT_DIGITS);
  if (!at)
    return;
  if (value < 0)
    *at++ = '-';
  finish(w, put_uint(at, value < 0 ? -(uint64_t)value : (uint64_t)value));
}

void writer_raw(struct writer *w, const char *key, const char *json, size_t n) {
  char *at = begin(w, key, n);
  if (at)
    finish(w, mempcpy(at, json, n));
}

void writer_uint_or_null(struct writer *w, const char *key, uint64_t value) {
  if (value)
    writer_uint(w, key, value);
  else
    writer_null(w, key);
}

void writer_bool(struct writer *w, const char *key, bool value) {
  writer_raw(w, key, value ? "true" : "false", value ? 4 : 5);
}

void writer_null(struct writer *w, const char *key) { writer_raw(w, key, "null", 4); }

void writer_text_n(struct writer *w, const char *key, const char *text, size_t n) {
  char *at = begin(w, key, n + 2);
  if (!at)
    return;
  size_t plain = plain_length(text, n);
  *at++ = '"';
  at = mempcpy(at, text, plain);
  if (plain == n)
    *at++ = '"';
  finish(w, at);
  if (plain < n)
    add_special_text(w->out, text + plain, n - plain);
}

void writer_text(struct writer *w, const char *key, const char *text) {
  if (text)
    writer_text_n(w, key, text, strlen(text));
  else
    writer_null(w, key);
}

void writer_bytes(struct writer *w, const char *key, uint64_t bytes) {
  if (bytes == UINT64_MAX)
    writer_null(w, key);
  else
    writer_uint(w, key, bytes);
}

void writer_text_or_null(struct writer *w, const char *key, const char *text) {
  writer_text(w, key, text && *text ? text : NULL);
}

void writer_words(struct writer *w, const char *key, const char *list) {
  writer_array(w, key);
  for (const char *at = list; *at;) {
    size_t n = strcspn(at, ",");
    writer_text_n(w, NULL, at, n);
    at += n + (at[n] == ',');
  }
  writer_end(w);
}

/* value / power, a power of ten, without zeros at the end. */
static void write_decimal(struct writer *w, const char *key, uint64_t value, uint64_t power) {
  char *at = begin(w, key, UINT_DIGITS + 1);
  if (!at)
    return;
  at = put_uint(at, value / power);
  uint64_t part = value % power;
  if (part)
    *at++ = '.';
  for (; part; part %= power) {
    power /= 10;
    *at++ = (char)('0' + part / power);
  }
  finish(w, at);
}

void writer_hundredths(struct writer *w, const char *key, uint64_t hundredths) {
  write_decimal(w, key, hundredths, 100);
}

void writer_ms(struct writer *w, const char *key, uint64_t ns) {
  write_decimal(w, key, ns, CLOCK_MS);
}

void writer_double(struct writer *w, const char *key, double value) {
  if (!isfinite(value)) {
    writer_null(w, key);
    return;
  }
  char text[DOUBLE_SPACE];
  int n = 0;
  for (int digits = 15; digits <= 17; digits++) {
    n = snprintf(text, sizeof text, "%.*g", digits, value + 0.0); /* -0 is 0 */
    if (strtod(text, NULL) == value)
      break;
  }
  char *point = strchr(text, ','); /* a library lives with its host's locale */
  if (point)
    *point = '.';
  writer_raw(w, key, text, (size_t)n);
}

void writer_time(struct writer *w, const char *key, uint64_t realtime_ns) {
  if (!realtime_ns) {
    writer_null(w, key);
    return;
  }
  char *at = begin(w, key, CLOCK_TEXT + 1);
  if (!at)
    return;
  *at++ = '"';
  clock_format(realtime_ns, at);
  at += CLOCK_TEXT - 1;
  *at++ = '"';
  finish(w, at);
}

void writer_id(struct writer *w, const char *key, char prefix, uint64_t id) {
  if (!id) {
    writer_null(w, key);
    return;
  }
  char *at = begin(w, key, ID_SIZE + 1);
  if (!at)
    return;
  *at++ = '"';
  id_format(prefix, id, at);
  at += strlen(at);
  *at++ = '"';
  finish(w, at);
}

void writer_key(struct writer *w, const char *key) {
  writer_text(w, NULL, key);
  buf_add(w->out, ":", 1);
  w->comma = false;
}
