/*
 * session: there is at most one wire, made by the first thread that needs one while the others wait
 * for it, and share its failure if there is none to be had. It is published after the daemon heard
 * the claims, so that no question overtakes them.
 */
#include "client/session.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/os_runtime.h"
#include "base/units.h"
#include "client/client.h"

#define TRIES 4                    /* a question that ends four daemons is not put to a fifth */
#define PAUSE (10 * CLOCK_MS)      /* between two looks for a daemon, doubled each time */
#define PAUSE_MAX (100 * CLOCK_MS) /* a restart takes a quarter of a second */
#define SOON (300 * CLOCK_MS)      /* ... and is over then */

struct session {
  char path[OS_RUNTIME_SOCKET_MAX + 2];
  uint64_t patience_ns;
  pid_t pid;
  struct hold *hold;
  uint64_t key;
  atomic_uint_fast64_t keys;
  struct lock lock;
  pthread_cond_t changed; /* connecting ended */
  bool connecting;
  struct wire *wire; /* NULL: none */
  uint64_t generation, failures;
  struct failure failure; /* of the last attempt that failed */
};

/* ---- connecting ---- */

static enum mk_code claim(struct wire *wire, const struct hold_claims *claims,
                          struct failure *failure) {
  struct problem problem;
  for (size_t i = 0; i < claims->count; i++) {
    struct wire_answer answer = {.doc = NULL};
    const struct wire_question question = {.action = "memory.resume",
                                           .data = claims->texts[i].data};
    if (wire_ask(wire, &question, &answer, &problem))
      return failure_set(failure, MK_DAEMON_NOT_FOUND, "%s", problem.text);
    bool taken = reader_bool(reader_get(reader_root(answer.doc), "success"), false);
    if (!taken)
      failure_read(failure, reader_root(answer.doc));
    wire_answer_done(&answer);
    if (!taken)
      return failure->code;
  }
  return MK_OK;
}

static enum mk_code greet(struct session *session, struct wire *wire, uint64_t *generation,
                          struct failure *failure) {
  struct hold_claims claims = {.texts = NULL};
  enum mk_code code = MK_OK;
  if (hold_claim(session->hold, &claims, generation))
    code = failure_no_memory(failure);
  else
    code = claim(wire, &claims, failure);
  hold_claims_done(&claims);
  return code;
}

static uint64_t patient_until(const struct session *session, enum session_how how) {
  uint64_t most = how == SESSION_SOON ? SOON : UINT64_MAX;
  return clock_now() + units_min(session->patience_ns, most);
}

/* MK_DAEMON_NOT_FOUND: it may come yet. */
static enum mk_code connect_once(struct session *session, struct wire **out, uint64_t *generation,
                                 struct failure *failure) {
  struct problem problem;
  struct share socket = {.kind = SHARE_NONE};
  struct wire *wire = NULL;
  enum status status = client_open(session->path, &socket, &problem);
  if (status == STATUS_NOT_FOUND)
    return failure_set(failure, MK_DAEMON_NOT_FOUND, "%s", problem.text);
  if (status)
    return failure_of(failure, &problem);
  if (wire_create(&socket, &wire))
    return failure_no_memory(failure);
  enum mk_code code = greet(session, wire, generation, failure);
  if (code)
    wire_let_go(wire);
  else
    *out = wire;
  return code;
}

static enum mk_code connect_until(struct session *session, uint64_t end, struct wire **out,
                                  uint64_t *generation, struct failure *failure) {
  uint64_t pause = PAUSE;
  for (;;) {
    enum mk_code code = connect_once(session, out, generation, failure);
    if (code != MK_DAEMON_NOT_FOUND || clock_now() >= end)
      return code;
    const struct timespec rest = {.tv_nsec = (long)pause};
    nanosleep(&rest, NULL);
    pause = 2 * pause < PAUSE_MAX ? 2 * pause : PAUSE_MAX;
  }
}

/* The lock is held, and given back meanwhile. A failure in a hurry is nobody else's. */
static enum mk_code connect_for_all(struct session *session, enum session_how how,
                                    struct failure *reason) {
  struct wire *wire = NULL;
  struct failure failure;
  uint64_t generation = 0;
  session->connecting = true;
  lock_give(&session->lock);
  enum mk_code code =
      connect_until(session, patient_until(session, how), &wire, &generation, &failure);
  lock_take(&session->lock);
  session->connecting = false;
  session->wire = wire;
  session->generation = generation;
  if (code && how != SESSION_SOON) {
    session->failures++;
    session->failure = failure;
  }
  if (code)
    *reason = failure;
  pthread_cond_broadcast(&session->changed);
  return code;
}

/* The lock is held. False: somebody else still tries to connect, and this is in a hurry. */
static bool await_connecting(struct session *session, enum session_how how) {
  const struct timespec until = clock_timespec(patient_until(session, how));
  while (session->connecting)
    if (how != SESSION_SOON)
      pthread_cond_wait(&session->changed, &session->lock.mutex);
    else if (pthread_cond_timedwait(&session->changed, &session->lock.mutex, &until))
      return false;
  return true;
}

static void drop_broken(struct session *session) {
  if (!session->wire || !wire_is_broken(session->wire))
    return;
  wire_let_go(session->wire);
  session->wire = NULL;
}

/* The lock is held. */
static enum mk_code need_wire(struct session *session, enum session_how how,
                              struct failure *failure) {
  uint64_t failures = session->failures;
  bool waited = await_connecting(session, how);
  drop_broken(session);
  if (session->wire)
    return MK_OK;
  if (!waited || how == SESSION_IF_THERE)
    return failure_set(failure, MK_DAEMON_NOT_FOUND, "the daemon is not there");
  if (session->failures == failures)
    return connect_for_all(session, how, failure);
  *failure = session->failure;
  return failure->code;
}

/* A reference on a wire that is whole, for wire_let_go. */
static enum mk_code take_wire(struct session *session, enum session_how how, struct wire **out,
                              uint64_t *generation, struct failure *failure) {
  LOCK_SCOPE(&session->lock);
  enum mk_code code = need_wire(session, how, failure);
  if (code)
    return code;
  *out = wire_keep(session->wire);
  *generation = session->generation;
  return MK_OK;
}

/* ---- making ---- */

static enum mk_code set_path(struct session *session, const char *path, struct failure *failure) {
  enum status status = STATUS_OK;
  if (!path)
    status = client_default_path(session->path, sizeof session->path);
  else if (strlen(path) < sizeof session->path)
    snprintf(session->path, sizeof session->path, "%s", path);
  else
    status = STATUS_INVALID_ARGUMENT;
  if (status)
    return failure_set(failure, MK_INVALID_ARGUMENT, "a socket's path has at most %d bytes",
                       OS_RUNTIME_SOCKET_MAX);
  return MK_OK;
}

enum mk_code session_create(const char *path, uint64_t patience_ns, struct hold *hold,
                            struct session **out, struct failure *failure) {
  struct session *session = calloc(1, sizeof *session);
  if (!session)
    return failure_no_memory(failure);
  lock_init(&session->lock, LOCK_RANK_STATE, "client session");
  lock_cond_init(&session->changed);
  session->pid = getpid();
  session->hold = hold;
  session->key = id_random();
  enum mk_code code = set_path(session, path, failure);
  if (!code)
    code = connect_once(session, &session->wire, &session->generation, failure);
  session->patience_ns = patience_ns;
  if (code)
    session_free(session);
  else
    *out = session;
  return code;
}

void session_free(struct session *session) {
  if (!session)
    return;
  wire_let_go(session->wire);
  pthread_cond_destroy(&session->changed);
  lock_done(&session->lock);
  free(session);
}

const char *session_path(const struct session *session) { return session->path; }

enum mk_code session_check(const struct session *session, struct failure *failure) {
  if (session->pid == getpid())
    return MK_OK;
  return failure_set(failure, MK_CONFLICT,
                     "this client belongs to process %d, and this one was forked off it: connect "
                     "here too",
                     (int)session->pid);
}

void session_make_key(struct session *session, char out[SESSION_KEY]) {
  snprintf(out, SESSION_KEY, "%016" PRIx64 "-%" PRIx64, session->key,
           (uint64_t)atomic_fetch_add(&session->keys, 1));
}

/* ---- asking ---- */

void session_answer_done(struct session_answer *answer) { wire_answer_done(&answer->wire); }

static enum mk_code judge(struct session_answer *answer, struct failure *failure) {
  struct reader_value root = reader_root(answer->wire.doc);
  answer->data = reader_get(root, "data");
  if (reader_bool(reader_get(root, "success"), false))
    return MK_OK;
  return failure_read(failure, root);
}

/* Lets go of the wire. */
static enum mk_code ask_on(struct wire *wire, const struct wire_question *question,
                           struct session_answer *out, bool *broke, struct failure *failure) {
  struct problem problem;
  enum status status = wire_ask(wire, question, &out->wire, &problem);
  wire_let_go(wire);
  *broke = status == STATUS_NOT_FOUND;
  if (status)
    return failure_of(failure, &problem);
  enum mk_code code = judge(out, failure);
  if (code)
    session_answer_done(out);
  return code;
}

enum mk_code session_ask(struct session *session, const struct wire_question *question,
                         enum session_how how, struct session_answer *out,
                         struct failure *failure) {
  *out = (struct session_answer){.generation = 0};
  for (int i = 0; i < (how == SESSION_AGAIN || how == SESSION_SOON ? TRIES : 1); i++) {
    struct wire *wire = NULL;
    bool broke = false;
    enum mk_code code = take_wire(session, how, &wire, &out->generation, failure);
    if (!code)
      code = ask_on(wire, question, out, &broke, failure);
    if (!broke)
      return code;
  }
  return failure_set(failure, MK_DAEMON_RESTARTED,
                     "the daemon ended during %s: whether it was done is not known",
                     question->action);
}
