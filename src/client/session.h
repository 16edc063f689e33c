/*
 * session: a daemon to ask, over its restarts. A question whose connection breaks is put again on
 * the next one where that is safe; before anything else, a new connection is told what hold has.
 * Thread-safe.
 */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H

#include "client/failure.h"
#include "client/hold.h"
#include "client/wire.h"

#define SESSION_KEY 36 /* an idempotency key with its NUL */

struct session;

/* Connects once; path NULL is the default. The hold is borrowed and outlives the session. */
enum mk_code session_create(const char *path, uint64_t patience_ns, struct hold *hold,
                            struct session **out, struct failure *failure);
/* NULL is fine. */
void session_free(struct session *session);
const char *session_path(const struct session *session);
/* MK_CONFLICT in a process that was forked off. */
enum mk_code session_check(const struct session *session, struct failure *failure);
void session_make_key(struct session *session, char out[SESSION_KEY]);

struct session_answer {
  struct wire_answer wire;
  struct reader_value data;
  uint64_t generation; /* of the connection, for hold_fill */
};
void session_answer_done(struct session_answer *answer);

enum session_how {
  SESSION_ONCE,    /* it may have been done when the connection breaks: never put twice */
  SESSION_AGAIN,   /* put again on the next connection */
  SESSION_SOON,    /* the same, but one that does not come at once is not waited for */
  SESSION_IF_THERE /* not worth a connection: without one it fails at once */
};

/* MK_OK: *out is a success. MK_DAEMON_NOT_FOUND: it did not come back within the patience.
 * MK_DAEMON_RESTARTED: the connection broke, and the question is not to be put again, or was too
 * often. Else what the daemon said. */
enum mk_code session_ask(struct session *session, const struct wire_question *question,
                         enum session_how how, struct session_answer *out, struct failure *failure);

#endif
