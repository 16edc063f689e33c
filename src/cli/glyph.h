/*
 * glyph: characters of UTF-8, and what they take on a screen.
 */
#ifndef CLI_GLYPH_H
#define CLI_GLYPH_H

#include <stdbool.h>
#include <stdint.h>

#define GLYPH_STRANGE '?' /* in place of what may not be shown */

/* The next character, behind which *text then stands; a byte that is none is GLYPH_STRANGE. */
uint32_t glyph_next(const char **text);
/* Whether it would steer the terminal, or turn the direction of writing. */
bool glyph_steers(uint32_t glyph);
/* In columns, 0 to 2, as the locale says (setlocale); -1: it knows none such. */
int glyph_width(uint32_t glyph);

#endif
