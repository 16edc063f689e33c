/*
 * wire: one connection on which many threads ask at once; answers come in any order, with
 * descriptors. A wire that broke stays broken. Thread-safe.
 */
#ifndef CLIENT_WIRE_H
#define CLIENT_WIRE_H

#include "base/problem.h"
#include "base/reader.h"
#include "base/share.h"

struct wire;

struct wire_question {
  const char *action;
  const char *data; /* a JSON object on one line; NULL: {} */
  const char *key;  /* idempotency key, NULL: none */
  bool brief;       /* the answer need not hold more than it takes to use the memory */
};

struct wire_answer {
  struct reader_doc *doc; /* the whole line */
  struct share share;     /* the first that came with it; SHARE_FILE, or SHARE_NONE */
};
/* Harmless on a zeroed one. */
void wire_answer_done(struct wire_answer *answer);

/* Takes the socket; closes it on failure too. One reference is the caller's. */
enum status wire_create(struct share *socket, struct wire **out);
struct wire *wire_keep(struct wire *wire);
/* The last one hangs up. NULL is fine. */
void wire_let_go(struct wire *wire);
bool wire_is_broken(struct wire *wire);

/* Waits for the answer, a success or a refusal, as long as it takes. NOT_FOUND: the connection
 * broke before, and whether it was done is not known. INVALID_ARGUMENT: the question is too long
 * and was not sent. */
enum status wire_ask(struct wire *wire, const struct wire_question *question,
                     struct wire_answer *out, struct problem *problem);

#endif
