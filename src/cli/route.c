/*
 * route: what the path and the query do not name is the body's, or without a body the query's too,
 * so that the daemon itself says what it does not know.
 */
#include "cli/route.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "base/reader.h"
#include "base/writer.h"

#define ROUTE_MAX ((size_t)1 << 20)

struct route_row {
  const char *action, *method, *path;
  size_t path_count;
  const char *const *names; /* path_count of the path, in its order, then those of the query */
};

#include "gen/cli_routes.h"

#define ROWS (sizeof route_rows / sizeof *route_rows)

/* ---- which ---- */

/* The first name of the path that `data` has not; NULL: all are there. */
static const char *find_missing(const struct route_row *row, struct reader_value data) {
  for (size_t i = 0; i < row->path_count; i++)
    if (!reader_get(data, row->names[i]).json)
      return row->names[i];
  return NULL;
}

static enum status find(const char *action, struct reader_value data, const struct route_row **out,
                        struct problem *problem) {
  const struct route_row *best = NULL;
  const char *missing = NULL;
  for (size_t i = 0; i < ROWS; i++) {
    const struct route_row *row = &route_rows[i];
    if (strcmp(row->action, action) != 0)
      continue;
    const char *lacks = find_missing(row, data);
    if (lacks)
      missing = lacks;
    else if (!best || row->path_count > best->path_count)
      best = row;
  }
  *out = best;
  if (best)
    return STATUS_OK;
  if (missing)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s is missing", missing);
  return problem_set(problem, STATUS_METHOD_NOT_ALLOWED,
                     "there is no %.60s over HTTP: ask without --url, or see memkeep exec --help",
                     action);
}

/* ---- how ---- */

static void add_encoded(struct buf *out, const char *text) {
  for (; *text; text++)
    if (isalnum((unsigned char)*text) || strchr("-._~", *text))
      buf_add(out, text, 1);
    else
      buf_print(out, "%%%02X", (unsigned)(unsigned char)*text);
}

static void add_value(struct buf *out, struct reader_value value) {
  struct buf json BUF_CLEANUP;
  const char *text = reader_text(value, NULL);
  buf_init(&json, ROUTE_MAX);
  if (!text)
    reader_dump(value, &json);
  add_encoded(out, text ? text : buf_text(&json));
}

static void add_path(struct buf *out, const struct route_row *row, struct reader_value data) {
  size_t named = 0;
  for (const char *at = row->path; *at; at++)
    if (*at == '{') {
      add_value(out, reader_get(data, row->names[named++]));
      at = strchr(at, '}');
    } else {
      buf_add(out, at, 1);
    }
}

static void add_query(struct buf *out, const char *name, struct reader_value value, bool *begun) {
  buf_add(out, *begun ? "&" : "?", 1);
  *begun = true;
  add_encoded(out, name);
  buf_add(out, "=", 1);
  add_value(out, value);
}

static size_t place_of(const struct route_row *row, const char *name) {
  size_t i = 0;
  while (row->names[i] && strcmp(row->names[i], name) != 0)
    i++;
  return i;
}

static void add_member(struct writer *w, const char *name, struct reader_value value) {
  struct buf json BUF_CLEANUP;
  buf_init(&json, ROUTE_MAX);
  reader_dump(value, &json);
  writer_key(w, name);
  writer_raw(w, NULL, buf_text(&json), json.size);
}

static void fill(struct route *out, const struct route_row *row, struct reader_value data) {
  bool has_body = row->method[0] == 'P', begun = false; /* POST, PUT */
  struct reader_value value;
  struct writer w;
  void *iterator = NULL;
  writer_init(&w, &out->body, WRITER_CAMEL);
  out->method = row->method;
  add_path(&out->target, row, data);
  if (has_body)
    writer_object(&w, NULL);
  for (const char *name; (name = reader_next(data, &iterator, &value));) {
    size_t place = place_of(row, name);
    if (place < row->path_count)
      continue;
    if (has_body && !row->names[place])
      add_member(&w, name, value);
    else
      add_query(&out->target, name, value, &begun);
  }
  if (has_body)
    writer_end(&w);
  buf_text(&out->target);
}

enum status route_make(const char *action, const char *data, struct route *out,
                       struct problem *problem) {
  const struct route_row *row;
  struct reader_doc *doc;
  *out = (struct route){.method = NULL};
  buf_init(&out->target, ROUTE_MAX);
  buf_init(&out->body, ROUTE_MAX);
  enum status status = reader_parse(data, strlen(data), &doc, problem);
  if (status)
    return status;
  status = find(action, reader_root(doc), &row, problem);
  if (!status)
    fill(out, row, reader_root(doc));
  reader_free(doc);
  if (!status && (out->target.failed || out->body.failed))
    status = problem_set(problem, STATUS_INVALID_ARGUMENT, "the request is too long");
  return status;
}

void route_done(struct route *route) {
  buf_done(&route->target);
  buf_done(&route->body);
}
