/*
 * units: a number is read as a whole part and billionths, never as a double, so that every size up
 * to the limit is exact. What a unit is worth stands in a table per kind.
 */
#include "base/units.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LIMIT (UINT64_C(1) << 62)    /* leaves room to add two of them */
#define BILLION UINT64_C(1000000000) /* nine digits behind the point */

struct number {
  uint64_t whole, billionths;
};

struct unit {
  const char *name;
  uint64_t worth;
};

/* Reads "12" or "12.5"; moves *text behind it. */
static bool read_number(const char **text, struct number *number) {
  const char *at = *text;
  uint64_t whole = 0, billionths = 0, place = BILLION;
  if (*at < '0' || *at > '9')
    return false;
  for (; *at >= '0' && *at <= '9'; at++) {
    if (whole > LIMIT / 10)
      return false;
    whole = whole * 10 + (uint64_t)(*at - '0');
  }
  if (*at == '.') {
    for (at++; *at >= '0' && *at <= '9'; at++) {
      place /= 10;
      if (!place)
        return false;
      billionths += (uint64_t)(*at - '0') * place;
    }
    if (place == BILLION)
      return false;
  }
  *text = at;
  *number = (struct number){whole, billionths};
  return true;
}

static bool scale(const struct number *number, uint64_t worth, uint64_t *out) {
  if (worth == 1 && number->billionths)
    return false;
  unsigned __int128 value = (unsigned __int128)number->whole * worth +
                            (unsigned __int128)number->billionths * worth / BILLION;
  if (value > LIMIT)
    return false;
  *out = (uint64_t)value;
  return true;
}

bool units_parse(const char *text, uint64_t *bytes) {
  static const char letters[] = "kmgtpe";
  struct number number;
  if (!read_number(&text, &number))
    return false;
  if (*text == ' ' && text[1])
    text++;
  const char *letter = *text ? strchr(letters, *text | 0x20) : NULL;
  if (letter)
    text++;
  bool known = !*text || strcasecmp(text, "b") == 0 || (letter && strcasecmp(text, "ib") == 0);
  return known && scale(&number, letter ? KIB << 10 * (letter - letters) : 1, bytes);
}

const char *units_format(uint64_t bytes, char *out, size_t size) {
  static const char *const names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < KIB) {
    snprintf(out, size, "%u B", (unsigned)bytes);
    return out;
  }
  unsigned i = 0;
  uint64_t tenths;
  for (;; i++) {
    uint64_t worth = KIB << 10 * i;
    tenths = (uint64_t)(((unsigned __int128)bytes * 10 + worth / 2) / worth);
    if (tenths < 10 * KIB || i == 5)
      break;
  }
  snprintf(out, size, "%u.%u %s", (unsigned)(tenths / 10), (unsigned)(tenths % 10), names[i]);
  return out;
}

bool units_parse_duration(const char *text, uint64_t *ns) {
  static const struct unit table[] = {
      {"", BILLION},       {"ms", BILLION / 1000}, {"s", BILLION},
      {"m", BILLION * 60}, {"h", BILLION * 3600},  {"d", BILLION * 86400},
  };
  struct number number;
  if (!read_number(&text, &number))
    return false;
  for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
    if (!strcmp(text, table[i].name))
      return scale(&number, table[i].worth, ns);
  return false;
}
