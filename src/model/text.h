/*
 * text: what may be a name in a model, and how one from outside is shown. Pure.
 */
#ifndef MODEL_TEXT_H
#define MODEL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#define TEXT_FILE_NAME 255 /* bytes; what file systems take */
#define TEXT_SHORT 68      /* a name in a sentence: 64 bytes, "…", NUL */

/* Well-formed UTF-8 without a NUL; "" is. */
bool text_is_valid(const char *text, size_t n);
/* 1 to 255 bytes of text that name a file in a folder: no '/', no control, not "." or "..". */
bool text_is_file_name(const char *name, size_t n);
/* A name from outside for a sentence: at most 64 bytes, then "…"; what is no text or a control
 * becomes '?'. Returns out. */
const char *text_shorten(const char *name, size_t n, char out[TEXT_SHORT]);

#endif
