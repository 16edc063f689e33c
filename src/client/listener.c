/*
 * listener: everything happens in one loop of poll over two descriptors, the daemon's and a pipe
 * through which it is stopped: so waiting for lines, for an answer to the greeting and for the next
 * attempt to connect all end at once when the listener does.
 */
#include "client/listener.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/line.h"
#include "base/share.h"
#include "client/client.h"

#define PAUSE_MS 20 /* between two attempts to connect, doubled each time */
#define PAUSE_MAX_MS 1000

static _Thread_local bool is_listener;

enum outcome { STOPPED, BROKE };

struct listener {
  struct listener_params params;
  char *path, *greeting;
  struct share stop[2]; /* a pipe: read end, write end */
  struct share socket;
  struct line *line;  /* NULL: not connected */
  bool greeted;       /* the greeting is answered, or needs none */
  bool broken;        /* by what was read or sent */
  struct failure why; /* the greeting was refused */
  bool started;
  pthread_t thread;
};

/* ---- the connection ---- */

static void hang_up(struct listener *listener) {
  line_free(listener->line);
  listener->line = NULL;
  if (listener->socket.kind != SHARE_NONE)
    shutdown((int)listener->socket.value, SHUT_RDWR); /* a forked child may have it too */
  share_close(&listener->socket);
}

void listener_send(struct listener *listener, const char *text, size_t n) {
  if (line_send(listener->line, text, n, NULL, 0))
    listener->broken = true;
}

static enum mk_code dial(struct listener *listener, struct failure *failure) {
  struct problem problem;
  enum status status = client_open(listener->path, &listener->socket, &problem);
  if (status == STATUS_NOT_FOUND)
    return failure_set(failure, MK_DAEMON_NOT_FOUND, "%s", problem.text);
  if (status)
    return failure_of(failure, &problem);
  const struct line_params params = {.in = (int)listener->socket.value,
                                     .out = (int)listener->socket.value,
                                     .shares = true,
                                     .max_line = CLIENT_LINE_MAX,
                                     .max_queue = 2 * CLIENT_LINE_MAX};
  if (line_create(&params, &listener->line)) {
    hang_up(listener);
    return failure_no_memory(failure);
  }
  listener->broken = false;
  listener->greeted = !listener->params.answered;
  listener_send(listener, listener->greeting, strlen(listener->greeting));
  return MK_OK;
}

/* ---- lines ---- */

/* Nothing that is said here takes descriptors. */
static void close_shares(struct listener *listener) {
  struct share share;
  while (line_take_share(listener->line, SHARE_FILE, &share))
    share_close(&share);
}

static void take_answer(struct listener *listener, struct reader_value root) {
  listener->greeted = reader_bool(reader_get(root, "success"), false);
  listener->broken = !listener->greeted;
  if (listener->broken)
    failure_read(&listener->why, root);
}

static bool on_line(void *arg, char *text, size_t n) {
  struct listener *listener = arg;
  struct reader_doc *doc = NULL;
  struct problem ignored;
  bool was_greeted = listener->greeted;
  close_shares(listener);
  if (reader_parse(text, n, &doc, &ignored)) {
    listener->broken = true;
    return false;
  }
  if (was_greeted)
    listener->params.line(listener->params.arg, listener, reader_root(doc));
  else
    take_answer(listener, reader_root(doc));
  reader_free(doc);
  return was_greeted && !listener->broken;
}

/* True: it broke. What came behind the answer to the greeting is here already. */
static bool hear(struct listener *listener) {
  if (listener->broken || line_flush(listener->line) ||
      line_read(listener->line, on_line, listener))
    listener->broken = true;
  return listener->broken;
}

/* Until it breaks or stops; with `greeting` also until the greeting is answered. */
static enum outcome serve(struct listener *listener, bool greeting) {
  while (!hear(listener) && !(greeting && listener->greeted)) {
    bool sending = line_wants_write(listener->line);
    struct pollfd both[] = {
        {.fd = (int)listener->socket.value, .events = (short)(sending ? POLLIN | POLLOUT : POLLIN)},
        {.fd = (int)listener->stop[0].value, .events = POLLIN}};
    poll(both, 2, -1);
    if (both[1].revents)
      return STOPPED;
  }
  return BROKE;
}

/* ---- the thread ---- */

/* False: it is time to stop. */
static bool rest(const struct listener *listener, int ms) {
  struct pollfd one = {.fd = (int)listener->stop[0].value, .events = POLLIN};
  return poll(&one, 1, ms) <= 0;
}

static bool dial_until_there(struct listener *listener) {
  struct failure ignored;
  int pause = PAUSE_MS;
  while (dial(listener, &ignored)) {
    if (!rest(listener, pause))
      return false;
    pause = 2 * pause < PAUSE_MAX_MS ? 2 * pause : PAUSE_MAX_MS;
  }
  return true;
}

/* A daemon that ends every connection at once, most likely refusing what we say, is asked ever more
 * rarely. */
static void *run(void *arg) {
  struct listener *listener = arg;
  int pause = PAUSE_MS;
  is_listener = true;
  for (uint64_t since = clock_now(); serve(listener, false) == BROKE; since = clock_now()) {
    bool lived = clock_now() - since > PAUSE_MAX_MS * CLOCK_MS;
    pause = lived ? PAUSE_MS : 2 * pause < PAUSE_MAX_MS ? 2 * pause : PAUSE_MAX_MS;
    hang_up(listener);
    if (!rest(listener, pause) || !dial_until_there(listener))
      break;
    if (serve(listener, true) == STOPPED)
      break;
    if (!listener->broken && listener->params.again)
      listener->params.again(listener->params.arg);
  }
  return NULL;
}

/* Signals are for the program's own threads. */
static bool start(struct listener *listener) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  listener->started = !pthread_create(&listener->thread, NULL, run, listener);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return listener->started;
}

/* ---- its life ---- */

static bool prepare(struct listener *listener) {
  int ends[2];
  listener->path = strdup(listener->params.path);
  listener->greeting = strdup(listener->params.greeting);
  if (!listener->path || !listener->greeting || pipe2(ends, O_CLOEXEC))
    return false;
  for (int i = 0; i < 2; i++)
    listener->stop[i] = (struct share){.kind = SHARE_FILE, .value = ends[i]};
  return true;
}

static enum mk_code greet(struct listener *listener, struct failure *failure) {
  enum mk_code code = dial(listener, failure);
  if (code)
    return code;
  serve(listener, true);
  if (!listener->broken)
    return MK_OK;
  if (!listener->why.code)
    return failure_set(failure, MK_DAEMON_RESTARTED, "the connection to the daemon broke");
  *failure = listener->why;
  return failure->code;
}

enum mk_code listener_create(const struct listener_params *params, struct listener **out,
                             struct failure *failure) {
  struct listener *listener = calloc(1, sizeof *listener);
  if (!listener)
    return failure_no_memory(failure);
  listener->params = *params;
  enum mk_code code = prepare(listener) ? greet(listener, failure) : failure_no_memory(failure);
  if (!code && !start(listener))
    code = failure_set(failure, MK_INTERNAL_ERROR, "this process may start no more threads");
  if (code)
    listener_free(listener);
  else
    *out = listener;
  return code;
}

void listener_free(struct listener *listener) {
  if (!listener)
    return;
  if (listener->started) {
    (void)!write((int)listener->stop[1].value, "", 1);
    pthread_join(listener->thread, NULL);
  }
  hang_up(listener);
  share_close(&listener->stop[0]);
  share_close(&listener->stop[1]);
  free(listener->path);
  free(listener->greeting);
  free(listener);
}

bool listener_is_here(void) { return is_listener; }
