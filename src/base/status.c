/*
 * status: the table of status.h, laid out once as an array that every question indexes. Codes are
 * parsed by walking it: that happens once per failed answer of a worker, so an index of its own
 * would be more to read than to gain.
 */
#include "base/status.h"

#include <string.h>

struct row {
  const char *code, *text;
  int http;
  bool retryable;
};

static const struct row rows[STATUS_COUNT] = {
#define X(name, http, retryable, text) {#name, text, http, retryable},
    STATUS_TABLE(X)
#undef X
};

static const struct row *row_of(enum status status) {
  return &rows[(unsigned)status < STATUS_COUNT ? status : STATUS_INTERNAL_ERROR];
}

const char *status_code(enum status status) { return row_of(status)->code; }

const char *status_text(enum status status) { return row_of(status)->text; }

int status_http(enum status status) { return row_of(status)->http; }

bool status_retryable(enum status status) { return row_of(status)->retryable; }

enum status status_parse(const char *code) {
  for (unsigned i = 0; code && i < STATUS_COUNT; i++)
    if (!strcmp(rows[i].code, code))
      return (enum status)i;
  return STATUS_INTERNAL_ERROR;
}
