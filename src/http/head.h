/*
 * head: request line and headers as far as the door reads them, and whether they can be read in one
 * way only. What two programs in a row could read differently (request smuggling) is a flaw: 400,
 * and the connection is not used again. Pure.
 */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* X(name, header) */
#define HEAD_TABLE(X)                                                                              \
  X(HOST, "Host")                                                                                  \
  X(LENGTH, "Content-Length")                                                                      \
  X(CODING, "Transfer-Encoding")                                                                   \
  X(TYPE, "Content-Type")                                                                          \
  X(ENCODING, "Content-Encoding")                                                                  \
  X(ORIGIN, "Origin")                                                                              \
  X(AUTHORIZATION, "Authorization")                                                                \
  X(CORRELATION, "X-Correlation-ID")                                                               \
  X(KEY, "Idempotency-Key")                                                                        \
  X(LAST_EVENT, "Last-Event-ID")                                                                   \
  X(IF_NONE_MATCH, "If-None-Match")

enum head_field {
#define X(name, header) HEAD_##name,
  HEAD_TABLE(X)
#undef X
      HEAD_FIELDS
};

struct head {
  const char *method, *version;
  const char *fields[HEAD_FIELDS]; /* NULL: absent */
  const char *flaw;                /* a sentence; NULL: none */
  enum status too_large;           /* what is, when that is the flaw */
};

/* Starts with a zeroed head. Both texts are NUL-terminated and stay where they are. */
void head_add(struct head *head, const char *name, size_t n, const char *value);
/* After the last one: sets `flaw` for what only shows in the whole. */
void head_check(struct head *head);
/* Bytes of the body, 0: none, UINT64_MAX: chunked. Of a head without flaw. */
uint64_t head_announced(const struct head *head);

#endif
