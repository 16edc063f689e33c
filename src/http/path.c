/*
 * path: an escape is checked before anything is decoded, so that a part is either decoded whole or
 * stands as it was sent. In a query, plus is a blank, as forms write it.
 */
#include "http/path.h"

#include <string.h>

enum part { PART_SEGMENT, PART_QUERY };

static int hex(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  c = (char)(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte behind a '%'; -1: none, or one that may not be there. */
static int escaped(const char *at, enum part part) {
  int high = hex(at[1]), low = high < 0 ? -1 : hex(at[2]);
  int byte = low < 0 ? -1 : high * 16 + low;
  return byte == 0 || (byte == '/' && part == PART_SEGMENT) ? -1 : byte;
}

static bool is_sound(const char *text, enum part part) {
  while ((text = strchr(text, '%'))) {
    if (escaped(text, part) < 0)
      return false;
    text += 3;
  }
  return true;
}

static bool decode(char *text, enum part part) {
  if (!is_sound(text, part))
    return false;
  char *to = text;
  for (const char *at = text; *at; at++) {
    if (*at == '%') {
      *to++ = (char)escaped(at, part);
      at += 2;
    } else {
      *to++ = *at == '+' && part == PART_QUERY ? ' ' : *at;
    }
  }
  *to = 0;
  return true;
}

/* Ends the text at the first `end`; what comes behind it, or NULL. */
static char *cut(char *text, char end) {
  char *at = strchr(text, end);
  if (at)
    *at++ = 0;
  return at;
}

static enum status add_pair(struct path *path, char *text, struct problem *problem) {
  char *value = cut(text, '=');
  if (!decode(text, PART_QUERY) || (value && !decode(value, PART_QUERY)))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, text,
                         "the query has an escape that cannot be decoded");
  if (path_query(path, text))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, text, "%.100s stands twice in the query",
                         text);
  if (path->pair_count == PATH_PAIRS)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "more than %d names in the query",
                       PATH_PAIRS);
  path->pairs[path->pair_count++] = (struct path_pair){text, value ? value : ""};
  return STATUS_OK;
}

enum status path_split(char *target, struct path *out, struct problem *problem) {
  out->count = out->pair_count = 0;
  out->broken = false;
  if (*target != '/')
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "the request's target is not a path");
  char *query = cut(target, '?');
  for (char *at = target + 1; at && out->count < PATH_SEGMENTS;) {
    char *segment = at;
    at = cut(segment, '/');
    out->broken |= !decode(segment, PART_SEGMENT);
    out->segments[out->count++] = segment;
  }
  enum status status = STATUS_OK;
  while (query && !status) {
    char *pair = query;
    query = cut(pair, '&');
    if (*pair)
      status = add_pair(out, pair, problem);
  }
  return status;
}

const char *path_query(const struct path *path, const char *name) {
  for (size_t i = 0; i < path->pair_count; i++)
    if (strcmp(path->pairs[i].name, name) == 0)
      return path->pairs[i].value;
  return NULL;
}
