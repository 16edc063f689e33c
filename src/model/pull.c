/*
 * pull: one pointer that moves forward. A string is judged when it is passed, so that what is
 * decoded later needs no second judgement.
 */
#include "model/pull.h"

#include <string.h>

void pull_begin(struct pull *json, const char *text, size_t n) {
  *json = (struct pull){.start = text, .at = text, .end = text + n};
}

bool pull_refuse(struct pull *json, const char *wrong) {
  if (!json->wrong)
    json->wrong = wrong;
  return false;
}

/* The next character that is no space, 0 at the end or at a wrong place. */
static char look(struct pull *json) {
  if (json->wrong)
    return 0;
  while (json->at < json->end &&
         (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r'))
    json->at++;
  return json->at < json->end ? *json->at : 0;
}

static bool take(struct pull *json, char c, const char *wrong) {
  if (look(json) != c)
    return pull_refuse(json, wrong);
  json->at++;
  return true;
}

bool pull_open(struct pull *json, char bracket) {
  json->is_fresh = true;
  return take(json, bracket, bracket == '{' ? "'{'" : "'['");
}

bool pull_more(struct pull *json, char bracket) {
  bool is_fresh = json->is_fresh;
  json->is_fresh = false;
  if (look(json) == bracket) {
    json->at++;
    return false;
  }
  return is_fresh ? !json->wrong : take(json, ',', bracket == '}' ? "',' or '}'" : "',' or ']'");
}

bool pull_end(struct pull *json) {
  look(json);
  return !json->wrong && (json->at == json->end || pull_refuse(json, "the end"));
}

/* ---- strings ---- */

static bool is_plain(char c) { return (unsigned char)c >= 0x20 && c != '"' && c != '\\'; }

/* The first character that is not plain, by whole words where there are. */
static const char *pass_plain(const char *at, const char *end) {
  const uint64_t ones = 0x0101010101010101, tops = ones << 7;
  for (uint64_t word; (size_t)(end - at) >= sizeof word; at += sizeof word) {
    memcpy(&word, at, sizeof word);
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    uint64_t found = ((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) |
                     ((backslash - ones) & ~backslash);
    if (found & tops)
      break;
  }
  while (at < end && is_plain(*at))
    at++;
  return at;
}

/* The four digits of \uXXXX at `at`; UINT32_MAX: they are none. */
static uint32_t unit(const char *at, const char *end) {
  uint32_t value = 0;
  if (end - at < 4)
    return UINT32_MAX;
  for (int i = 0; i < 4; i++) {
    char c = at[i], low = (char)(c | 0x20);
    bool is_decimal = c >= '0' && c <= '9';
    if (!is_decimal && (low < 'a' || low > 'f'))
      return UINT32_MAX;
    value = value << 4 | (uint32_t)(is_decimal ? c - '0' : low - 'a' + 10);
  }
  return value;
}

/* The character that is escaped at `at`, which is behind a backslash; *at goes behind it.
 * UINT32_MAX: there is none. */
static uint32_t escape(const char **at, const char *end) {
  static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  if (*at == end)
    return UINT32_MAX;
  char c = *(*at)++;
  const char *letter = c && c != 'u' ? strchr(letters, c) : NULL;
  if (letter)
    return (unsigned char)meant[letter - letters];
  uint32_t high = c == 'u' ? unit(*at, end) : UINT32_MAX;
  if (high == UINT32_MAX || (high >= 0xdc00 && high < 0xe000))
    return UINT32_MAX;
  *at += 4;
  if (high < 0xd800 || high > 0xdbff)
    return high;
  if (end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
    return UINT32_MAX;
  uint32_t low = unit(*at + 2, end);
  *at += 6;
  if (low < 0xdc00 || low > 0xdfff)
    return UINT32_MAX;
  return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

bool pull_string(struct pull *json, struct pull_text *out) {
  bool has_escapes = false;
  if (!take(json, '"', "a string"))
    return false;
  const char *start = json->at;
  for (;;) {
    json->at = pass_plain(json->at, json->end);
    if (json->at == json->end || (unsigned char)*json->at < 0x20)
      return pull_refuse(json, "the end of a string");
    if (*json->at++ == '"')
      break;
    has_escapes = true;
    if (escape(&json->at, json->end) == UINT32_MAX)
      return pull_refuse(json, "an escaped character");
  }
  *out = (struct pull_text){start, (size_t)(json->at - start) - 1, has_escapes};
  return true;
}

bool pull_key(struct pull *json, struct pull_text *out) {
  return pull_string(json, out) && take(json, ':', "':'");
}

bool pull_is(const struct pull_text *text, const char *word) {
  return !text->has_escapes && text->n == strlen(word) && !memcmp(text->at, word, text->n);
}

static size_t put_character(char out[4], uint32_t point) {
  if (point < 0x80) {
    out[0] = (char)point;
    return 1;
  }
  size_t n = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  for (size_t i = n - 1; i; i--, point >>= 6)
    out[i] = (char)(0x80 | (point & 0x3f));
  out[0] = (char)((0xf0U << (4 - n)) | point);
  return n;
}

bool pull_decode(const struct pull_text *text, char *out, size_t space, size_t *n) {
  const char *at = text->at, *end = at + text->n;
  size_t size = 0;
  while (at < end) {
    const char *plain = pass_plain(at, end);
    size_t length = (size_t)(plain - at);
    if (length > space - size)
      return false;
    memcpy(out + size, at, length);
    size += length;
    at = plain;
    if (at == end)
      break;
    char bytes[4];
    at++;
    length = put_character(bytes, escape(&at, end));
    if (length > space - size)
      return false;
    memcpy(out + size, bytes, length);
    size += length;
  }
  *n = size;
  return true;
}

/* ---- numbers and the rest ---- */

static bool is_digit(const struct pull *json) {
  return json->at < json->end && *json->at >= '0' && *json->at <= '9';
}

static bool is_one_of(const struct pull *json, const char *characters) {
  return json->at < json->end && *json->at && strchr(characters, *json->at);
}

bool pull_uint(struct pull *json, uint64_t *out) {
  static const char wrong[] = "an integer from 0 to 2^64 - 1";
  uint64_t value = 0;
  look(json);
  if (json->wrong || !is_digit(json))
    return pull_refuse(json, wrong);
  const char *start = json->at;
  for (; is_digit(json); json->at++)
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, (uint64_t)(*json->at - '0'), &value))
      return pull_refuse(json, wrong);
  if ((*start == '0' && json->at - start > 1) || is_one_of(json, ".eE"))
    return pull_refuse(json, wrong);
  *out = value;
  return true;
}

static bool skip_digits(struct pull *json) {
  const char *start = json->at;
  while (is_digit(json))
    json->at++;
  return json->at > start || pull_refuse(json, "a digit");
}

static bool skip_number(struct pull *json) {
  json->at += *json->at == '-';
  const char *start = json->at;
  if (!skip_digits(json))
    return false;
  if (*start == '0' && json->at - start > 1)
    return pull_refuse(json, "a number without leading zeros");
  if (is_one_of(json, ".")) {
    json->at++;
    if (!skip_digits(json))
      return false;
  }
  if (!is_one_of(json, "eE"))
    return true;
  json->at++;
  json->at += is_one_of(json, "+-");
  return skip_digits(json);
}

static bool skip_word(struct pull *json) {
  static const char *const words[] = {"true", "false", "null"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    size_t n = strlen(words[i]);
    if ((size_t)(json->end - json->at) < n || memcmp(json->at, words[i], n) != 0)
      continue;
    json->at += n;
    return true;
  }
  return pull_refuse(json, "a value");
}

static bool skip(struct pull *json, int depth) {
  struct pull_text text;
  char c = look(json);
  if (c == '"')
    return pull_string(json, &text);
  if (c == '-' || (c >= '0' && c <= '9'))
    return skip_number(json);
  if (c != '{' && c != '[')
    return !json->wrong && skip_word(json);
  if (depth == PULL_DEPTH)
    return pull_refuse(json, "a value that is less deep");
  char close = c == '{' ? '}' : ']';
  pull_open(json, c);
  while (pull_more(json, close))
    if ((c == '{' && !pull_key(json, &text)) || !skip(json, depth + 1))
      return false;
  return !json->wrong;
}

bool pull_skip(struct pull *json) { return skip(json, 0); }
