/*
 * text: one table-driven step over a UTF-8 character; whole words of ASCII are passed at once.
 */
#include "model/text.h"

#include <stdint.h>
#include <string.h>

#include "base/units.h"

#define SHOWN 64 /* bytes of a name in a sentence */

/* Bytes of the character at s; 0: there is none, or it is NUL. */
static size_t character(const unsigned char *s, size_t n) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* shorter forms exist */
  static const uint8_t lengths[] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 2, 2, 3, 4};
  size_t length = lengths[s[0] >> 4];
  uint32_t point = s[0] & (0xffU >> (length + 1));
  if (length == 1)
    return s[0] != 0;
  if (length == 4 && s[0] & 8)
    return 0;
  if (!length || length > n)
    return 0;
  for (size_t i = 1; i < length; i++) {
    if ((s[i] & 0xc0) != 0x80)
      return 0;
    point = point << 6 | (s[i] & 0x3f);
  }
  bool is_surrogate = point >> 11 == 0x1b;
  return point < least[length] || point > 0x10ffff || is_surrogate ? 0 : length;
}

/* Bytes up to the first that is 0 or not ASCII, in whole words. */
static size_t ascii(const char *text, size_t n) {
  const uint64_t ones = 0x0101010101010101, tops = ones << 7;
  size_t i = 0;
  for (uint64_t word; n - i >= sizeof word; i += sizeof word) {
    memcpy(&word, text + i, sizeof word);
    if ((word | (word - ones)) & tops)
      break;
  }
  return i;
}

bool text_is_valid(const char *text, size_t n) {
  for (size_t i = 0, length; i < n; i += length) {
    length = ascii(text + i, n - i);
    if (!length)
      length = character((const unsigned char *)text + i, n - i);
    if (!length)
      return false;
  }
  return true;
}

static bool is_control(char c) { return (unsigned char)c < 0x20 || c == 0x7f; }

bool text_is_file_name(const char *name, size_t n) {
  if (!n || n > TEXT_FILE_NAME || (n <= 2 && !memcmp(name, "..", n)))
    return false;
  for (size_t i = 0; i < n; i++)
    if (is_control(name[i]) || name[i] == '/')
      return false;
  return text_is_valid(name, n);
}

const char *text_shorten(const char *name, size_t n, char out[TEXT_SHORT]) {
  size_t size = 0;
  for (size_t i = 0, length; i < n; i += length) {
    length = character((const unsigned char *)name + i, n - i);
    bool is_good = length && !is_control(name[i]);
    length = units_max(length, 1);
    if (size + length > SHOWN) {
      memcpy(out + size, "…", 4);
      return out;
    }
    if (is_good)
      memcpy(out + size, name + i, length);
    else
      out[size] = '?';
    size += length;
  }
  out[size] = 0;
  return out;
}
