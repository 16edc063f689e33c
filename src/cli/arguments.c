/*
 * arguments: a value is written as its field's type wants it: sizes with units where the name ends
 * in _bytes, times with units where it ends in _ms or _seconds. Words and ranges the daemon judges.
 * The daemon has a working directory of its own: a path is told to it whole.
 */
#include "cli/arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/id.h"
#include "base/reader.h"
#include "base/units.h"

#define DATA_MAX ((size_t)1 << 20)
#define NAME_MAX_BYTES 64

static const char *camel(const char *name, char out[NAME_MAX_BYTES]) {
  size_t n = 0;
  for (; *name && n < NAME_MAX_BYTES - 1; name++) {
    bool joins = *name == '_' && name[1] >= 'a' && name[1] <= 'z';
    if (joins)
      name++;
    out[n++] = joins ? (char)(*name - 'a' + 'A') : *name;
  }
  out[n] = '\0';
  return out;
}

/* ---- values ---- */

/* JSON as it is, but for its keys. */
static void write_json(struct writer *w, struct reader_value value) {
  char name[NAME_MAX_BYTES];
  if (reader_is_object(value)) {
    void *iterator = NULL;
    struct reader_value member;
    writer_object(w, NULL);
    for (const char *key; (key = reader_next(value, &iterator, &member));) {
      writer_key(w, strlen(key) < NAME_MAX_BYTES ? camel(key, name) : key);
      write_json(w, member);
    }
    writer_end(w);
  } else if (reader_is_array(value)) {
    writer_array(w, NULL);
    for (size_t i = 0; i < reader_count(value); i++)
      write_json(w, reader_at(value, i));
    writer_end(w);
  } else {
    struct buf text BUF_CLEANUP;
    buf_init(&text, DATA_MAX);
    reader_dump(value, &text);
    writer_raw(w, NULL, buf_text(&text), text.size);
  }
}

static bool put_json(struct writer *w, const char *text) {
  struct buf wrapped BUF_CLEANUP;
  struct reader_doc *doc;
  struct problem ignored;
  buf_init(&wrapped, DATA_MAX);
  buf_print(&wrapped, "{\"value\":%s}", text);
  if (wrapped.failed || reader_parse(wrapped.data, wrapped.size, &doc, &ignored))
    return false;
  write_json(w, reader_get(reader_root(doc), "value"));
  reader_free(doc);
  return true;
}

static bool parse_digits(const char *text, uint64_t *out) {
  if (!*text || text[strspn(text, "0123456789")])
    return false;
  errno = 0;
  *out = strtoull(text, NULL, 10);
  return !errno && *out <= INT64_MAX;
}

static bool parse_uint(const struct cli_field *field, const char *text, uint64_t *out) {
  uint64_t ns, unit = table_time_unit(field);
  if (table_is_size(field))
    return units_parse(text, out);
  if (parse_digits(text, out))
    return true;
  if (!unit || !units_parse_duration(text, &ns))
    return false;
  *out = ns / unit;
  return true;
}

static bool put_uint(struct writer *w, const struct cli_field *field, const char *text) {
  uint64_t value = 0;
  if (!parse_uint(field, text, &value))
    return false;
  writer_uint(w, NULL, value);
  return true;
}

static bool put_int(struct writer *w, const char *text) {
  char *end;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  if (errno || end == text || *end)
    return false;
  writer_int(w, NULL, value);
  return true;
}

static bool put_number(struct writer *w, const char *text) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end)
    return false;
  writer_double(w, NULL, value);
  return true;
}

static bool put_bool(struct writer *w, const char *text) {
  bool yes = strcmp(text, "true") == 0;
  if (!yes && strcmp(text, "false") != 0)
    return false;
  writer_bool(w, NULL, yes);
  return true;
}

static bool put(struct writer *w, const struct cli_field *field, const char *text) {
  switch (*field->type) {
  case 'u':
    return put_uint(w, field, text);
  case 'n':
    return put_number(w, text);
  case 'b':
    return put_bool(w, text);
  case 'j':
    return put_json(w, text);
  case 'i':
    if (strcmp(field->type, "int") == 0)
      return put_int(w, text);
    break;
  default:
    break;
  }
  writer_text(w, NULL, text);
  return true;
}

static const char *wanted(const struct cli_field *field) {
  if (table_is_size(field))
    return "a size, such as 4096, 512M or 8GiB";
  if (table_time_unit(field))
    return "a time, such as 500ms, 30s or 5m";
  if (*field->type == 'u' || strcmp(field->type, "int") == 0)
    return "a whole number";
  if (*field->type == 'b')
    return "true or false";
  return *field->type == 'n' ? "a number" : "JSON";
}

static enum status add(struct arguments *arguments, int index, const char *text,
                       struct problem *problem) {
  char name[NAME_MAX_BYTES];
  const struct cli_field *field = &arguments->operation->fields[index];
  uint64_t bit = UINT64_C(1) << index;
  if (arguments->said & bit)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s was said twice", field->name);
  arguments->said |= bit;
  writer_key(&arguments->w, camel(field->name, name));
  if (!put(&arguments->w, field, text))
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s: \"%.60s\" is not %s", field->name,
                       text, wanted(field));
  return STATUS_OK;
}

bool arguments_said(const struct arguments *arguments, const char *field) {
  int index = table_field(arguments->operation, field);
  return index >= 0 && arguments->said >> index & 1;
}

enum status arguments_add(struct arguments *arguments, const char *field, const char *value,
                          struct problem *problem) {
  return add(arguments, table_field(arguments->operation, field), value, problem);
}

/* ---- words ---- */

static void begin(struct arguments *out, const struct cli_operation *operation) {
  *out = (struct arguments){.operation = operation};
  buf_init(&out->data, DATA_MAX);
  writer_init(&out->w, &out->data, WRITER_CAMEL);
  writer_object(&out->w, NULL);
}

/* The field of a flag (without its hyphens, n bytes); *off: it was --no-…. */
static int find_flag(const struct verb *verb, const struct cli_operation *operation,
                     const char *flag, size_t n, bool *off) {
  char name[NAME_MAX_BYTES];
  *off = false;
  if (n >= sizeof name)
    return -1;
  memcpy(name, flag, n);
  name[n] = '\0';
  for (int i = 0; i < VERB_NAMES && verb->names[i].flag; i++)
    if (table_same(verb->names[i].flag, name))
      return table_field(operation, verb->names[i].field);
  int index = table_field(operation, name);
  if (index >= 0 || strncmp(name, "no-", 3) != 0)
    return index;
  index = table_field(operation, name + 3);
  *off = true;
  return index >= 0 && *operation->fields[index].type == 'b' ? index : -1;
}

/* A value that a person said, as the verb means it. */
static enum status add_said(const struct verb *verb, int index, const char *text,
                            struct arguments *out, struct problem *problem) {
  bool relative = verb->path && *text && *text != '/' &&
                  strcmp(out->operation->fields[index].name, verb->path) == 0;
  if (!relative)
    return add(out, index, text, problem);
  struct buf whole BUF_CLEANUP;
  char *here = getcwd(NULL, 0);
  buf_init(&whole, DATA_MAX);
  buf_print(&whole, "%s%s%s", here ? here : "", here && !here[1] ? "" : "/", text);
  bool known = here;
  free(here);
  return known ? add(out, index, buf_text(&whole), problem)
               : problem_set(problem, STATUS_INVALID_ARGUMENT,
                             "the working directory is gone: say the whole path");
}

/* words[*i] is a flag. */
static enum status take_flag(const struct verb *verb, const char *const *words, int *i,
                             struct arguments *out, struct problem *problem) {
  const char *flag = words[*i];
  size_t n = strcspn(flag, "=");
  const char *value = flag[n] ? flag + n + 1 : NULL;
  bool off;
  int index = find_flag(verb, out->operation, flag + 2, n - 2, &off);
  if (index < 0)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%.60s is no flag of %s", flag,
                       verb->name);
  if (off && value)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%.*s takes no value", (int)n, flag);
  bool lone = !value && *out->operation->fields[index].type == 'b';
  if (lone)
    return add(out, index, off ? "false" : "true", problem);
  if (!value)
    value = words[++*i];
  if (!value)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%.60s wants a value", flag);
  return add_said(verb, index, value, out, problem);
}

static enum status take_word(const struct verb *verb, const char *word, int place,
                             struct arguments *out, struct problem *problem) {
  if (place >= VERB_WORDS || !verb->words[place])
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s wants no \"%.60s\"", verb->name, word);
  bool model = verb->model && !place && !id_parse(ID_ALLOCATION, word);
  const char *field = model ? verb->model : verb->words[place];
  return add_said(verb, table_field(out->operation, field), word, out, problem);
}

static enum status check_required(const struct arguments *arguments, struct problem *problem) {
  const struct cli_operation *operation = arguments->operation;
  for (size_t i = 0; i < operation->field_count; i++)
    if (operation->fields[i].required && !(arguments->said >> i & 1))
      return problem_set(problem, STATUS_MISSING_PARAMETER, "%s is missing",
                         operation->fields[i].name);
  return STATUS_OK;
}

/* What is said first decides, where a verb has two. */
static const struct cli_operation *operation_of(const struct verb *verb, const char *first) {
  const struct cli_operation *usual = verbs_operation(verb), *bare = verbs_bare(verb);
  bool off;
  if (!first)
    return bare;
  if (strncmp(first, "--", 2) != 0)
    return usual;
  size_t n = strcspn(first, "=") - 2;
  bool own = find_flag(verb, usual, first + 2, n, &off) < 0 &&
             find_flag(verb, bare, first + 2, n, &off) >= 0;
  return own ? bare : usual;
}

enum status arguments_read(const struct verb *verb, const char *const *words, int count,
                           struct arguments *out, struct problem *problem) {
  enum status status = STATUS_OK;
  bool only_words = false;
  int place = 0;
  begin(out, operation_of(verb, count ? words[0] : NULL));
  for (int i = 0; i < count && !status; i++) {
    if (!only_words && strcmp(words[i], "--") == 0)
      only_words = true;
    else if (!only_words && strncmp(words[i], "--", 2) == 0)
      status = take_flag(verb, words, &i, out, problem);
    else
      status = take_word(verb, words[i], place++, out, problem);
  }
  return status ? status : check_required(out, problem);
}

static enum status take_object(struct arguments *out, const char *text, struct problem *problem) {
  buf_reset(&out->data);
  writer_init(&out->w, &out->data, WRITER_CAMEL);
  struct reader_doc *doc;
  enum status status = reader_parse(text, strlen(text), &doc, problem);
  if (status)
    return status;
  writer_object(&out->w, NULL);
  struct reader_value member;
  void *iterator = NULL;
  char name[NAME_MAX_BYTES];
  for (const char *key; (key = reader_next(reader_root(doc), &iterator, &member));) {
    writer_key(&out->w, strlen(key) < NAME_MAX_BYTES ? camel(key, name) : key);
    write_json(&out->w, member);
  }
  reader_free(doc);
  return STATUS_OK;
}

static enum status take_pair(struct arguments *out, const char *word, struct problem *problem) {
  char name[NAME_MAX_BYTES];
  size_t n = strcspn(word, "=");
  if (!word[n] || n >= sizeof name)
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "\"%.60s\" is not field=value, nor a JSON object", word);
  memcpy(name, word, n);
  name[n] = '\0';
  if (table_field(out->operation, name) < 0)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s has no field %s",
                       out->operation->action, name);
  return arguments_add(out, name, word + n + 1, problem);
}

enum status arguments_read_exec(const struct cli_operation *operation, const char *const *words,
                                int count, struct arguments *out, struct problem *problem) {
  enum status status = STATUS_OK;
  begin(out, operation);
  if (count == 1 && words[0][strspn(words[0], " \t\n")] == '{')
    return take_object(out, words[0], problem);
  for (int i = 0; i < count && !status; i++)
    status = take_pair(out, words[i], problem);
  return status;
}

enum status arguments_end(struct arguments *arguments, const char *const *defaults,
                          struct problem *problem) {
  enum status status = STATUS_OK;
  uint64_t said = arguments->said;
  for (; !status && defaults && *defaults; defaults += 2)
    if (table_field(arguments->operation, defaults[0]) >= 0 &&
        !arguments_said(arguments, defaults[0]))
      status = arguments_add(arguments, defaults[0], defaults[1], problem);
  arguments->said = said;
  writer_end(&arguments->w);
  if (!status && arguments->data.failed)
    status = problem_set(problem, STATUS_INVALID_ARGUMENT, "the request is too long");
  buf_text(&arguments->data);
  return status;
}
