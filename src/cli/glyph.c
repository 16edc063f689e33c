/*
 * glyph: what a label, a name or a path may do to a terminal is decided here, for tables and for
 * `top`.
 */
#include "cli/glyph.h"

#include <wchar.h>

uint32_t glyph_next(const char **text) {
  const unsigned char *at = (const unsigned char *)*text;
  unsigned more = *at < 0x80 ? 0 : *at >= 0xf0 ? 3 : *at >= 0xe0 ? 2 : 1;
  uint32_t glyph = more ? *at & (0x3fU >> more) : *at;
  bool whole = *at < 0x80 || (*at >= 0xc2 && *at < 0xf5);
  for (unsigned i = 1; whole && i <= more; i++) {
    whole = (at[i] & 0xc0) == 0x80;
    glyph = glyph << 6 | (at[i] & 0x3f);
  }
  *text += whole ? more + 1 : 1;
  return whole ? glyph : GLYPH_STRANGE;
}

bool glyph_steers(uint32_t glyph) {
  bool controls = glyph < 0x20 || (glyph >= 0x7f && glyph < 0xa0);
  bool turns = (glyph >= 0x202a && glyph <= 0x202e) || (glyph >= 0x2066 && glyph <= 0x2069);
  return controls || turns;
}

int glyph_width(uint32_t glyph) { return glyph < 0x80 ? 1 : wcwidth((wchar_t)glyph); }
