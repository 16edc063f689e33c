/*
 * reader: JSON in, strict, into a struct, driven by a table of fields. The only file that includes
 * the JSON library (jansson, JSON_REJECT_DUPLICATES; depth over 32 is refused before it is asked).
 *
 * A field is read by its camelCase name, or by its snake_case form with READER_SNAKE. Unknown
 * field, wrong type, out of range, wrong word: the problem names the field. Integers take integers
 * only (1.0 is INVALID_ARGUMENT). Which fields were present is kept in a bit set: bit i is field i
 * of the table, so at most 64 fields.
 */
#ifndef BASE_READER_H
#define BASE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"

enum reader_type {
  READER_UINT, /* uint64_t in min..max (max 0: 2^63-1) */
  READER_INT,  /* int64_t in (int64_t)min..(int64_t)max */
  READER_BOOL, /* bool */
  READER_TEXT, /* char[size]: longer is INVALID_ARGUMENT; control characters and NUL are refused */
  READER_WORD, /* int: index into words (NULL-terminated list); compared without case */
  READER_ID, /* uint64_t: "a-…" form; prefix char in `prefix`; a malformed id reads as 0, which no
                table knows */
  READER_DOUBLE, /* double, integers accepted */
  READER_RAW,    /* struct reader_value: any value, borrowed from the document */
};

struct reader_field {
  const char *name; /* camelCase */
  size_t offset;    /* of the member in the target struct */
  size_t size;      /* READER_TEXT: its size with the NUL */
  uint64_t min, max;
  const char *const *words;
  const char *otherwise; /* the default as docs print it; NULL: none */
  const char *doc;       /* one sentence for openapi.json, docs/api.md and --help */
  enum reader_type type;
  char prefix;
  bool required;
  bool power_of_two; /* READER_UINT */
};

enum reader_names { READER_CAMEL, READER_SNAKE };

struct reader_doc; /* a parsed document */
struct reader_value {
  const void *json;
}; /* borrowed from its document */

/* Parses one JSON object of n bytes (an empty text counts as {}). INVALID_JSON with line and column
 * in the problem. */
enum status reader_parse(const char *text, size_t n, struct reader_doc **out,
                         struct problem *problem);
/* The same for the line of that number of a connection; an empty one is INVALID_JSON. */
enum status reader_parse_line(uint64_t number, const char *text, size_t n, struct reader_doc **out,
                              struct problem *problem);
void reader_free(struct reader_doc *doc);
struct reader_value reader_root(const struct reader_doc *doc);

/* Fills `out` from an object. Members of absent fields are left as they are (put the defaults there
 * before). `present` may be NULL. Fields that are in neither table nor `ignore` (NULL-terminated,
 * may be NULL) are UNKNOWN_FIELD. */
struct reader_table {
  const struct reader_field *fields;
  size_t count;
  enum reader_names names;
  const char *const *ignore;
};
enum status reader_decode(struct reader_value object, const struct reader_table *table, void *out,
                          uint64_t *present, struct problem *problem);
/* One field from text, as in a path or query: "1024", "true", "fifo". */
enum status reader_decode_text(const struct reader_field *field, const char *text, void *out,
                               struct problem *problem);

/* Loose access, for the wire between daemon and worker: a member, or one with json == NULL. */
struct reader_value reader_get(struct reader_value object, const char *name);
bool reader_is_object(struct reader_value value);
bool reader_is_array(struct reader_value value);
size_t reader_count(struct reader_value array); /* 0 if it is no array */
struct reader_value reader_at(struct reader_value array, size_t index);
const char *reader_text(struct reader_value value, const char *otherwise); /* borrowed */
uint64_t reader_uint(struct reader_value value, uint64_t otherwise);
double reader_double(struct reader_value value, double otherwise);
bool reader_bool(struct reader_value value, bool otherwise);
/* Walks an object's members in document order: returns NULL at the end. *iterator starts as NULL.
 */
const char *reader_next(struct reader_value object, void **iterator, struct reader_value *value);
/* Compact JSON of a value, appended. */
struct buf;
void reader_dump(struct reader_value value, struct buf *out);

#endif
