/*
 * id: hex by hand, because ids are written and read in every answer. Correlation ids are a counter
 * that starts at random and is sent through a bijection (the finaliser of splitmix64): no two of
 * one process are equal, none looks like the next.
 */
#include "base/id.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#define HEX_DIGITS 16 /* of a 64-bit id */
#define TOKEN_MAX 64

/* splitmix64's increment and multipliers (Steele, Lea, Flood 2014) */
#define MIX_STEP UINT64_C(0x9e3779b97f4a7c15)
#define MIX_FIRST UINT64_C(0xbf58476d1ce4e5b9)
#define MIX_SECOND UINT64_C(0x94d049bb133111eb)

static void write_hex(uint64_t value, char *out) {
  for (unsigned i = 0; i < HEX_DIGITS; i++)
    out[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
  out[HEX_DIGITS] = '\0';
}

const char *id_format(char prefix, uint64_t id, char out[ID_SIZE]) {
  out[0] = prefix;
  out[1] = '-';
  write_hex(id, out + 2);
  return out;
}

uint64_t id_parse(char prefix, const char *text) {
  if (!text || text[0] != prefix || text[1] != '-')
    return 0;
  uint64_t id = 0;
  for (unsigned i = 0; i < HEX_DIGITS; i++) {
    char c = text[2 + i];
    if (c >= '0' && c <= '9')
      id = id << 4 | (unsigned)(c - '0');
    else if (c >= 'a' && c <= 'f')
      id = id << 4 | (unsigned)(c - 'a' + 10);
    else
      return 0;
  }
  return text[2 + HEX_DIGITS] ? 0 : id;
}

uint64_t id_random(void) {
  uint64_t value;
  while (getrandom(&value, sizeof value, 0) != sizeof value)
    if (errno != EINTR)
      abort(); /* no kernel of ours lacks it, and a guessed id is worse than none */
  return value;
}

void id_correlation(char out[17]) {
  static _Atomic uint64_t last;
  uint64_t before = atomic_load_explicit(&last, memory_order_relaxed), next;
  do
    next = (before ? before : id_random()) + MIX_STEP;
  while (!atomic_compare_exchange_weak_explicit(&last, &before, next, memory_order_relaxed,
                                                memory_order_relaxed));
  next = (next ^ next >> 30) * MIX_FIRST;
  next = (next ^ next >> 27) * MIX_SECOND;
  write_hex(next ^ next >> 31, out);
}

static bool is_token_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

bool id_is_token(const char *text) {
  size_t n = 0;
  while (text && n <= TOKEN_MAX && is_token_char(text[n]))
    n++;
  return n >= 1 && n <= TOKEN_MAX && !text[n];
}
