/*
 * head: a header that the door knows may come once. The first flaw found is kept.
 */
#include "http/head.h"

#include <string.h>
#include <strings.h>

static const struct known {
  const char *name;
  size_t size;
} known[] = {
#define X(name, header) {(header), sizeof(header) - 1},
    HEAD_TABLE(X)
#undef X
};

static void flawed(struct head *head, const char *what) {
  if (!head->flaw)
    head->flaw = what;
}

/* RFC 9110, 5.6.2 */
static bool is_token(const char *text, size_t n) {
  for (size_t i = 0; i < n; i++) {
    char c = text[i], low = (char)(c | 0x20);
    if (!((low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '-') &&
        (!c || !strchr("!#$%&'*+.^_`|~", c)))
      return false;
  }
  return n > 0;
}

static bool has_control(const char *text) {
  for (; *text; text++)
    if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
      return true;
  return false;
}

void head_add(struct head *head, const char *name, size_t n, const char *value) {
  if (!is_token(name, n))
    flawed(head, "a header's name holds a blank or another character that no name has");
  if (has_control(value))
    flawed(head, "a header's value holds a control character");
  for (size_t i = 0; i < HEAD_FIELDS; i++) {
    if (known[i].size != n || strncasecmp(known[i].name, name, n) != 0)
      continue;
    if (head->fields[i])
      flawed(head, "a header that may come once came twice");
    head->fields[i] = value;
  }
}

static bool is_number(const char *text) {
  size_t n = strspn(text, "0123456789");
  return n >= 1 && n <= 19 && !text[n];
}

void head_check(struct head *head) {
  const char *length = head->fields[HEAD_LENGTH], *coding = head->fields[HEAD_CODING];
  bool is_1_0 = strcmp(head->version, "HTTP/1.0") == 0;
  if (!is_1_0 && strcmp(head->version, "HTTP/1.1") != 0)
    flawed(head, "only HTTP/1.1 and HTTP/1.0 are spoken here");
  if (length && coding)
    flawed(head, "Content-Length and Transfer-Encoding stand together");
  if (length && !is_number(length))
    flawed(head, "Content-Length is not a number");
  if (coding && (is_1_0 || strcasecmp(coding, "chunked") != 0))
    flawed(head, "the only Transfer-Encoding is chunked, in HTTP/1.1");
  if (!is_1_0 && !head->fields[HEAD_HOST])
    flawed(head, "HTTP/1.1 needs a Host header");
}

uint64_t head_announced(const struct head *head) {
  uint64_t n = 0;
  if (head->fields[HEAD_CODING])
    return UINT64_MAX;
  for (const char *at = head->fields[HEAD_LENGTH]; at && *at; at++)
    n = n * 10 + (uint64_t)(*at - '0');
  return n;
}
