/*
 * decode: params are zeroed as far as the row says, get the row's defaults, then what the request
 * says. A row's fields lie in the order path, query, body, so that each of the three is a range of
 * one table and the socket's `data` is all of it.
 *
 * An id in a path is never wrong, it only names nothing: a malformed id is 0 and a text too long is
 * cut, which no table knows, and the operation says which kind of thing was not found.
 */
#include "ops/decode.h"

#include <stdio.h>
#include <string.h>

#include "base/id.h"

static void set_defaults(struct ops_call *call) {
  memset(call->params, 0, call->row->params_size);
  call->said = 0;
  if (call->row->defaults)
    call->row->defaults(call->params);
}

static void decode_path(struct ops_call *call) {
  for (size_t i = 0; i < call->row->path_count; i++) {
    const struct reader_field *field = &call->row->fields[i];
    void *member = call->params + field->offset;
    if (field->type == READER_ID)
      *(uint64_t *)member = id_parse(field->prefix, call->path_values[i]);
    else
      snprintf(member, field->size, "%s", call->path_values[i]);
  }
}

struct known {
  const struct ops_row *row;
  struct problem *problem;
};

static bool is_known(void *arg, const char *name) {
  const struct known *known = arg;
  const struct reader_field *fields = known->row->fields + known->row->path_count;
  for (size_t i = 0; i < known->row->query_count; i++)
    if (strcmp(fields[i].name, name) == 0)
      return true;
  problem_field(known->problem, STATUS_UNKNOWN_FIELD, name, "%.100s is no query parameter here",
                name);
  return false;
}

static enum status decode_query(struct ops_call *call, struct problem *problem) {
  if (!call->query_each)
    return STATUS_OK;
  struct known known = {call->row, problem};
  problem->status = STATUS_OK;
  call->query_each(call->door, is_known, &known);
  enum status status = problem->status;
  const struct reader_field *field = call->row->fields + call->row->path_count;
  for (size_t i = 0; !status && i < call->row->query_count; i++, field++) {
    const char *value = call->query(call->door, field->name);
    if (value)
      status = reader_decode_text(field, value, call->params, problem);
  }
  return status;
}

static enum status require_nothing(const struct reader_field *fields, size_t count,
                                   struct problem *problem) {
  for (size_t i = 0; i < count; i++)
    if (fields[i].required)
      return problem_field(problem, STATUS_MISSING_PARAMETER, fields[i].name, "%s is required",
                           fields[i].name);
  return STATUS_OK;
}

static enum status decode_text(struct ops_call *call, struct decode_body *body,
                               const struct reader_table *table, struct problem *problem) {
  struct reader_doc *doc;
  enum status status = reader_parse(body->text, body->size, &doc, problem);
  if (status)
    return status;
  body->doc = doc;
  status = reader_decode(reader_root(doc), table, call->params, &call->said, problem);
  call->said <<= call->row->path_count + call->row->query_count;
  return status;
}

enum status decode_http(struct ops_call *call, struct decode_body *body, struct problem *problem) {
  const struct ops_row *row = call->row;
  size_t outside = row->path_count + row->query_count;
  const struct reader_table table = {row->field_count ? row->fields + outside : NULL,
                                     row->field_count - outside, READER_CAMEL, NULL};
  set_defaults(call);
  enum status status = body->text && body->size
                           ? decode_text(call, body, &table, problem)
                           : require_nothing(table.fields, table.count, problem);
  if (!status)
    status = decode_query(call, problem);
  if (!status)
    decode_path(call);
  return status;
}

enum status decode_wire(struct ops_call *call, struct reader_value data, struct problem *problem) {
  const struct ops_row *row = call->row;
  const struct reader_table table = {row->fields, row->field_count,
                                     call->names == WRITER_SNAKE ? READER_SNAKE : READER_CAMEL,
                                     NULL};
  set_defaults(call);
  if (!data.json)
    return require_nothing(table.fields, table.count, problem);
  if (!reader_is_object(data))
    return problem_set(problem, STATUS_INVALID_JSON, "data is not an object");
  return reader_decode(data, &table, call->params, &call->said, problem);
}
