/*
 * pull: walks over JSON text without building anything, for headers of 100 MB and a million
 * members. The caller knows the grammar and asks for what must come next; the first thing that does
 * not come is remembered in `wrong`, and from then on every question is answered false. Pure; the
 * text is borrowed. UTF-8 is not checked here: text_is_valid does it once for all of the text.
 *
 *   if (pull_open(&json, '{'))
 *     while (pull_more(&json, '}'))
 *       pull_key(&json, &key) && pull_uint(&json, &value);
 */
#ifndef MODEL_PULL_H
#define MODEL_PULL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PULL_DEPTH 32 /* of a value that is skipped */

struct pull {
  const char *start, *at, *end;
  const char *wrong; /* NULL, or what was expected, for a sentence: "a string"; stands at `at` */
  bool is_fresh;     /* nothing came yet in what was opened last */
};

/* A string as it is written, without its quotes; its escapes are good ones. */
struct pull_text {
  const char *at;
  size_t n;
  bool has_escapes;
};

void pull_begin(struct pull *json, const char *text, size_t n);
/* '{' or '['. */
bool pull_open(struct pull *json, char bracket);
/* Whether another member or element follows; false also when '}' or ']' was passed, or at a wrong
 * place. */
bool pull_more(struct pull *json, char bracket);
bool pull_string(struct pull *json, struct pull_text *out);
/* A string and ':'. */
bool pull_key(struct pull *json, struct pull_text *out);
/* Digits: no sign, fraction, exponent or leading zero, at most 2^64 - 1. */
bool pull_uint(struct pull *json, uint64_t *out);
/* Any value. */
bool pull_skip(struct pull *json);
/* Nothing but space to the end. */
bool pull_end(struct pull *json);
/* For the caller's own refusals; false. The first one stays. */
bool pull_refuse(struct pull *json, const char *wrong);

/* Whether it is written without escapes and like that word. */
bool pull_is(const struct pull_text *text, const char *word);
/* The string with its escapes resolved; false: over `space`. */
bool pull_decode(const struct pull_text *text, char *out, size_t space, size_t *n);

#endif
