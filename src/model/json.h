/*
 * json: walks over JSON text without building anything, for headers of 100 MB and a million
 * members. The caller knows the grammar and asks for what must come next; the first thing that does
 * not come is remembered in `wrong`, and from then on every question is answered false. Pure; the
 * text is borrowed. UTF-8 is not checked here: text_is_valid does it once for all of the text.
 *
 *   if (json_open(&json, '{'))
 *     while (json_more(&json, '}'))
 *       json_key(&json, &key) && json_uint(&json, &value);
 */
#ifndef MODEL_JSON_H
#define MODEL_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH 32 /* of a value that is skipped */

struct json {
  const char *start, *at, *end;
  const char *wrong; /* NULL, or what was expected, for a sentence: "a string"; stands at `at` */
  bool is_fresh;     /* nothing came yet in what was opened last */
};

/* A string as it is written, without its quotes; its escapes are good ones. */
struct json_text {
  const char *at;
  size_t n;
  bool has_escapes;
};

void json_begin(struct json *json, const char *text, size_t n);
/* '{' or '['. */
bool json_open(struct json *json, char bracket);
/* Whether another member or element follows; false also when '}' or ']' was passed, or at a wrong
 * place. */
bool json_more(struct json *json, char bracket);
bool json_string(struct json *json, struct json_text *out);
/* A string and ':'. */
bool json_key(struct json *json, struct json_text *out);
/* Digits: no sign, fraction, exponent or leading zero, at most 2^64 - 1. */
bool json_uint(struct json *json, uint64_t *out);
/* Any value. */
bool json_skip(struct json *json);
/* Nothing but space to the end. */
bool json_end(struct json *json);
/* For the caller's own refusals; false. The first one stays. */
bool json_refuse(struct json *json, const char *wrong);

/* Whether it is written without escapes and like that word. */
bool json_is(const struct json_text *text, const char *word);
/* The string with its escapes resolved; false: over `space`. */
bool json_decode(const struct json_text *text, char *out, size_t space, size_t *n);

#endif
