/*
 * reader: the adapter to jansson. A document is jansson's root object under another name, a value a
 * borrowed json_t.
 *
 * A table is decoded in two passes: first every member is matched, converted into a cell and
 * checked, then the cells are stored; so a refused document changes nothing. Text from a path or
 * query becomes a JSON value first and goes the same way, so that "1e3", "0x10" and " 5" are judged
 * once for both. Nothing is allocated but by jansson: names are compared with the camelCase of the
 * table letter by letter.
 *
 * Depth is counted before jansson sees the text, because jansson recurses. Want of memory it calls
 * bad text, or goes on with a byte less: errno tells what it was.
 */
#include "base/reader.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/id.h"
#include "base/units.h"
#include "base/writer.h"

#define DEPTH_MAX WRITER_DEPTH /* what we read, we can write */
#define FIELDS_MAX 64          /* bits of `present` */
#define NAME_SPACE 64          /* problem.field */

/* A converted member, before it is stored. */
union cell {
  uint64_t uint;
  int64_t integer;
  bool flag;
  int word;
  double real;
  const char *text;
  struct reader_value raw;
};

struct place {
  unsigned line, column;
};

/* False, and where, when brackets outside of strings nest too deeply. Columns count characters, as
 * jansson's do. */
static bool check_depth(const char *text, size_t n, struct place *place) {
  bool in_string = false, escaped = false;
  unsigned depth = 0;
  *place = (struct place){.line = 1};
  for (size_t i = 0; i < n; i++) {
    char c = text[i];
    place->column += (c & 0xc0) != 0x80;
    if (c == '\n') {
      place->line++;
      place->column = 0;
    }
    if (in_string && c == '\\' && !escaped) {
      escaped = true;
      continue;
    }
    if (c == '"' && !escaped)
      in_string = !in_string;
    else if (!in_string && (c == '{' || c == '['))
      depth++;
    else if (!in_string && (c == '}' || c == ']') && depth)
      depth--;
    escaped = false;
    if (depth > DEPTH_MAX)
      return false;
  }
  return true;
}

enum status reader_parse(const char *text, size_t n, struct reader_doc **out,
                         struct problem *problem) {
  if (!n) {
    text = "{}";
    n = 2;
  }
  struct place place;
  if (!check_depth(text, n, &place))
    return problem_set(problem, STATUS_INVALID_JSON, "line %u column %u: nested deeper than %d",
                       place.line, place.column, DEPTH_MAX);
  json_error_t error;
  errno = 0;
  json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
  if (errno == ENOMEM) {
    json_decref(root);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "out of memory");
  }
  if (!root)
    return problem_set(problem, STATUS_INVALID_JSON, "line %d column %d: %s", error.line,
                       error.column, error.text);
  if (!json_is_object(root)) {
    json_decref(root);
    return problem_set(problem, STATUS_INVALID_JSON, "line 1 column 1: not an object");
  }
  *out = (struct reader_doc *)root;
  return STATUS_OK;
}

enum status reader_parse_line(uint64_t number, const char *text, size_t n, struct reader_doc **out,
                              struct problem *problem) {
  struct problem flaw;
  if (!n)
    return problem_set(problem, STATUS_INVALID_JSON,
                       "line %" PRIu64 " is not a JSON object: it is empty", number);
  enum status status = reader_parse(text, n, out, &flaw);
  if (!status)
    return STATUS_OK;
  if (status != STATUS_INVALID_JSON)
    return problem_set(problem, status, "line %" PRIu64 ": %s", number, flaw.text);
  const char *column = strstr(flaw.text, "column ");
  return problem_set(problem, status, "line %" PRIu64 " is not a JSON object: %s", number,
                     column ? column : flaw.text);
}

void reader_free(struct reader_doc *doc) { json_decref((json_t *)doc); }

struct reader_value reader_root(const struct reader_doc *doc) {
  return (struct reader_value){doc};
}

/* What is being converted: the field, its name as the document writes it, and where to complain. */
struct spot {
  const struct reader_field *field;
  const char *name;
  struct problem *problem;
};

static enum status refuse(const struct spot *spot, const char *what) {
  return problem_field(spot->problem, STATUS_INVALID_ARGUMENT, spot->name, "%s must be %s",
                       spot->name, what);
}

static enum status convert_uint(const struct spot *spot, json_t *json, union cell *cell) {
  const struct reader_field *field = spot->field;
  uint64_t max = field->max ? field->max : INT64_MAX;
  if (!json_is_integer(json))
    return refuse(spot, "an integer");
  json_int_t value = json_integer_value(json);
  if (value < 0 || (uint64_t)value < field->min || (uint64_t)value > max)
    return problem_field(spot->problem, STATUS_INVALID_ARGUMENT, spot->name,
                         "%s must be between %" PRIu64 " and %" PRIu64, spot->name, field->min,
                         max);
  if (field->power_of_two && !units_is_power((uint64_t)value))
    return refuse(spot, "a power of two");
  cell->uint = (uint64_t)value;
  return STATUS_OK;
}

static enum status convert_int(const struct spot *spot, json_t *json, union cell *cell) {
  int64_t min = (int64_t)spot->field->min, max = (int64_t)spot->field->max;
  if (!json_is_integer(json))
    return refuse(spot, "an integer");
  json_int_t value = json_integer_value(json);
  if (value < min || value > max)
    return problem_field(spot->problem, STATUS_INVALID_ARGUMENT, spot->name,
                         "%s must be between %" PRId64 " and %" PRId64, spot->name, min, max);
  cell->integer = value;
  return STATUS_OK;
}

static enum status convert_bool(const struct spot *spot, json_t *json, union cell *cell) {
  if (!json_is_boolean(json))
    return refuse(spot, "true or false");
  cell->flag = json_is_true(json);
  return STATUS_OK;
}

static bool has_control(const char *text) {
  for (const unsigned char *at = (const unsigned char *)text; *at; at++)
    if (*at < 0x20 || *at == 0x7f || (*at == 0xc2 && at[1] < 0xa0))
      return true;
  return false;
}

static enum status convert_text(const struct spot *spot, json_t *json, union cell *cell) {
  if (!json_is_string(json))
    return refuse(spot, "a UTF-8 string");
  cell->text = json_string_value(json);
  if (json_string_length(json) >= spot->field->size)
    return problem_field(spot->problem, STATUS_INVALID_ARGUMENT, spot->name,
                         "%s must be at most %zu bytes long", spot->name, spot->field->size - 1);
  return has_control(cell->text) ? refuse(spot, "without control characters") : STATUS_OK;
}

/* Adds a word to a list as struct problem keeps them; a word that does not fit is left out. */
static void list_word(char *list, size_t size, const char *word) {
  size_t n = strlen(list);
  if (n + strlen(word) + 2 <= size)
    snprintf(list + n, size - n, "%s%s", n ? "," : "", word);
}

static enum status convert_word(const struct spot *spot, json_t *json, union cell *cell) {
  const char *const *words = spot->field->words;
  const char *text = json_string_value(json);
  char list[sizeof spot->problem->allowed] = "";
  for (int i = 0; words[i]; i++) {
    if (text && strcasecmp(words[i], text) == 0) {
      cell->word = i;
      return STATUS_OK;
    }
    list_word(list, sizeof list, words[i]);
  }
  problem_field(spot->problem, STATUS_INVALID_ARGUMENT, spot->name, "%s must be one of %s",
                spot->name, list);
  memcpy(spot->problem->allowed, list, sizeof list);
  return STATUS_INVALID_ARGUMENT;
}

static enum status convert_id(const struct spot *spot, json_t *json, union cell *cell) {
  if (!json_is_string(json))
    return refuse(spot, "a string");
  cell->uint = id_parse(spot->field->prefix, json_string_value(json));
  return STATUS_OK;
}

static enum status convert_double(const struct spot *spot, json_t *json, union cell *cell) {
  if (!json_is_number(json))
    return refuse(spot, "a number");
  cell->real = json_number_value(json);
  return STATUS_OK;
}

static enum status convert_raw(const struct spot *spot, json_t *json, union cell *cell) {
  (void)spot;
  cell->raw.json = json;
  return STATUS_OK;
}

static const struct kind {
  enum status (*convert)(const struct spot *spot, json_t *json, union cell *cell);
  size_t size;  /* of the cell's part that is stored; 0: the text it points to */
  bool literal; /* in a path or query it is written as in JSON, the others are bare strings */
} kinds[] = {
    [READER_UINT] = {convert_uint, sizeof(uint64_t), true},
    [READER_INT] = {convert_int, sizeof(int64_t), true},
    [READER_BOOL] = {convert_bool, sizeof(bool), true},
    [READER_TEXT] = {convert_text, 0, false},
    [READER_WORD] = {convert_word, sizeof(int), false},
    [READER_ID] = {convert_id, sizeof(uint64_t), false},
    [READER_DOUBLE] = {convert_double, sizeof(double), true},
    [READER_RAW] = {convert_raw, sizeof(struct reader_value), true},
};

static void store(const struct reader_field *field, const union cell *cell, void *out) {
  char *member = (char *)out + field->offset;
  size_t size = kinds[field->type].size;
  if (size)
    memcpy(member, cell, size);
  else
    memcpy(member, cell->text, strlen(cell->text) + 1);
}

/* Whether a key is the name, or its snake_case form. */
static bool is_name(const char *name, const char *key, enum reader_names names) {
  if (names == READER_CAMEL)
    return strcmp(name, key) == 0;
  for (; *name; name++, key++) {
    bool upper = *name >= 'A' && *name <= 'Z';
    if (upper && *key++ != '_')
      return false;
    if (*key != (upper ? *name | 0x20 : *name))
      return false;
  }
  return !*key;
}

/* The name as documents of this kind write it. */
static const char *spell(const char *name, enum reader_names names, char out[NAME_SPACE]) {
  size_t n = 0;
  for (; *name && n + 2 < NAME_SPACE; name++) {
    bool upper = names == READER_SNAKE && *name >= 'A' && *name <= 'Z';
    if (upper)
      out[n++] = '_';
    out[n++] = (char)(upper ? *name | 0x20 : *name);
  }
  out[n] = '\0';
  return out;
}

static size_t find_field(const struct reader_table *table, const char *key) {
  size_t i = 0;
  while (i < table->count && !is_name(table->fields[i].name, key, table->names))
    i++;
  return i;
}

static bool is_ignored(const struct reader_table *table, const char *key) {
  for (const char *const *name = table->ignore; name && *name; name++)
    if (is_name(*name, key, table->names))
      return true;
  return false;
}

static enum status refuse_unknown(const struct reader_table *table, const char *key,
                                  struct problem *problem) {
  char name[NAME_SPACE];
  problem_field(problem, STATUS_UNKNOWN_FIELD, key, "%.100s is no field here", key);
  for (size_t i = 0; i < table->count; i++)
    list_word(problem->allowed, sizeof problem->allowed,
              spell(table->fields[i].name, table->names, name));
  return STATUS_UNKNOWN_FIELD;
}

/* Converts the members into the cells of their fields; *found gets a bit for each. */
static enum status convert_members(json_t *object, const struct reader_table *table,
                                   union cell *cells, uint64_t *found, struct problem *problem) {
  for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
    const char *key = json_object_iter_key(at);
    size_t i = find_field(table, key);
    if (i == table->count) {
      if (is_ignored(table, key))
        continue;
      return refuse_unknown(table, key, problem);
    }
    const struct spot spot = {&table->fields[i], key, problem};
    enum status status =
        kinds[spot.field->type].convert(&spot, json_object_iter_value(at), &cells[i]);
    if (status)
      return status;
    *found |= UINT64_C(1) << i;
  }
  return STATUS_OK;
}

enum status reader_decode(struct reader_value object, const struct reader_table *table, void *out,
                          uint64_t *present, struct problem *problem) {
  assert(table->count <= FIELDS_MAX);
  if (!reader_is_object(object))
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "not an object");
  union cell cells[FIELDS_MAX];
  uint64_t found = 0;
  enum status status = convert_members((json_t *)object.json, table, cells, &found, problem);
  if (status)
    return status;
  for (size_t i = 0; i < table->count; i++) {
    if (!table->fields[i].required || found >> i & 1)
      continue;
    char name[NAME_SPACE];
    spell(table->fields[i].name, table->names, name);
    return problem_field(problem, STATUS_MISSING_PARAMETER, name, "%s is required", name);
  }
  for (size_t i = 0; i < table->count; i++)
    if (found >> i & 1)
      store(&table->fields[i], &cells[i], out);
  if (present)
    *present = found;
  return STATUS_OK;
}

/* A number or a word of JSON; anything else, white space around it included, is null. */
static json_t *load_literal(const char *text) {
  json_error_t error;
  size_t n = strspn(text, "+-.0123456789eEtrufals");
  json_t *json = text[n] ? NULL : json_loadb(text, n, JSON_DECODE_ANY, &error);
  return json ? json : json_null();
}

static json_t *load_string(const char *text) {
  json_t *json = json_string(text);
  return json ? json : json_null();
}

enum status reader_decode_text(const struct reader_field *field, const char *text, void *out,
                               struct problem *problem) {
  const struct spot spot = {field, field->name, problem};
  if (field->type == READER_RAW)
    return refuse(&spot, "in the body");
  union cell cell;
  json_t *json = kinds[field->type].literal ? load_literal(text) : load_string(text);
  enum status status = kinds[field->type].convert(&spot, json, &cell);
  if (!status)
    store(field, &cell, out);
  json_decref(json);
  return status;
}

struct reader_value reader_get(struct reader_value object, const char *name) {
  return (struct reader_value){json_object_get(object.json, name)};
}

bool reader_is_object(struct reader_value value) {
  return json_is_object((const json_t *)value.json);
}

bool reader_is_array(struct reader_value value) {
  return json_is_array((const json_t *)value.json);
}

size_t reader_count(struct reader_value array) { return json_array_size(array.json); }

struct reader_value reader_at(struct reader_value array, size_t index) {
  return (struct reader_value){json_array_get(array.json, index)};
}

const char *reader_text(struct reader_value value, const char *otherwise) {
  const char *text = json_string_value(value.json);
  return text ? text : otherwise;
}

uint64_t reader_uint(struct reader_value value, uint64_t otherwise) {
  const json_t *json = value.json;
  return json_is_integer(json) && json_integer_value(json) >= 0 ? (uint64_t)json_integer_value(json)
                                                                : otherwise;
}

double reader_double(struct reader_value value, double otherwise) {
  const json_t *json = value.json;
  return json_is_number(json) ? json_number_value(json) : otherwise;
}

bool reader_bool(struct reader_value value, bool otherwise) {
  const json_t *json = value.json;
  return json_is_boolean(json) ? json_is_true(json) : otherwise;
}

const char *reader_next(struct reader_value object, void **iterator, struct reader_value *value) {
  json_t *json = (json_t *)object.json;
  void *at = *iterator ? json_object_iter_next(json, *iterator) : json_object_iter(json);
  *iterator = at;
  if (!at)
    return NULL;
  value->json = json_object_iter_value(at);
  return json_object_iter_key(at);
}

static void dump(struct writer *w, json_t *json);

static void dump_object(struct writer *w, json_t *json) {
  writer_object(w, NULL);
  for (void *at = json_object_iter(json); at; at = json_object_iter_next(json, at)) {
    writer_key(w, json_object_iter_key(at));
    dump(w, json_object_iter_value(at));
  }
  writer_end(w);
}

static void dump_array(struct writer *w, const json_t *json) {
  writer_array(w, NULL);
  for (size_t i = 0; i < json_array_size(json); i++)
    dump(w, json_array_get(json, i));
  writer_end(w);
}

static void dump(struct writer *w, json_t *json) {
  switch (json ? json_typeof(json) : JSON_NULL) {
  case JSON_OBJECT:
    dump_object(w, json);
    break;
  case JSON_ARRAY:
    dump_array(w, json);
    break;
  case JSON_STRING:
    writer_text_n(w, NULL, json_string_value(json), json_string_length(json));
    break;
  case JSON_INTEGER:
    writer_int(w, NULL, json_integer_value(json));
    break;
  case JSON_REAL:
    writer_double(w, NULL, json_real_value(json));
    break;
  case JSON_TRUE:
  case JSON_FALSE:
    writer_bool(w, NULL, json_is_true(json));
    break;
  case JSON_NULL:
    writer_null(w, NULL);
    break;
  }
}

void reader_dump(struct reader_value value, struct buf *out) {
  struct writer w;
  writer_init(&w, out, WRITER_CAMEL);
  dump(&w, (json_t *)value.json);
}
