/*
 * ask: one question to the daemon and what becomes of the answer.
 */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include "base/buf.h"
#include "base/reader.h"
#include "cli/globals.h"
#include "cli/url.h"
#include "client/client.h"

struct ask {
  const struct globals *globals;
  struct client *client; /* NULL: not connected yet */
  struct url *url;       /* with --url, in its place */
  uint64_t deadline;     /* of all questions together, 0: none */
};

struct ask_answer {
  struct buf text; /* the envelope, as it came */
  struct reader_doc *doc;
  struct reader_value data;  /* of a success */
  struct reader_value error; /* of a refusal */
};

void ask_init(struct ask *ask, const struct globals *globals);
void ask_done(struct ask *ask);

struct ask_question {
  const char *action, *data; /* data in camelCase */
  bool detached;
};

/* EXIT_OK: a success. Else *problem says what went wrong; if it was refused, out->error has more.
 * The answer is to be freed in any case. */
int ask_try(struct ask *ask, const struct ask_question *question, struct ask_answer *out,
            struct problem *problem);
/* The same, aloud: what went wrong has been said on stderr, and with --json a refusal is on
 * stdout. */
int ask_put(struct ask *ask, const struct ask_question *question, struct ask_answer *out);
/* On stderr, what can be done about an error of that code; nothing where that is not known. */
void ask_advise(const struct globals *globals, const char *code);
/* After a question for events, over the socket: the next one in place of *answer. EXIT_OK without
 * data: the time that was given is over. */
int ask_next(struct ask *ask, struct ask_answer *answer);
void ask_free(struct ask_answer *answer);
/* The answer as it came, on stdout. */
void ask_print_raw(struct ask_answer *answer);

#endif
