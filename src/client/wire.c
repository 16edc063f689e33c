/*
 * wire: whoever waits for an answer reads. There is no thread of its own, which would cost every
 * call two switches: of the threads that wait, one sits in poll without the lock and gives each
 * line to whom it belongs; the others sleep, and when the reader has its own answer it wakes them,
 * so that one of them goes on reading.
 *
 * A connection that says something nobody can understand is broken, for its answers could no longer
 * be told apart.
 */
#include "client/wire.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/id.h"
#include "base/line.h"
#include "base/lock.h"
#include "base/writer.h"
#include "client/client.h"

#define ID_REQUEST 'r'

struct waiter {
  struct waiter *next;
  uint64_t id;
  struct wire_answer answer;
};

struct wire {
  struct lock lock;
  pthread_cond_t changed; /* an answer came, nobody reads any more, or it broke */
  struct share socket;
  struct line *line;
  struct waiter *waiters;
  uint64_t last_id;
  unsigned references;
  bool reading, broken;
};

void wire_answer_done(struct wire_answer *answer) {
  reader_free(answer->doc);
  share_close(&answer->share);
  *answer = (struct wire_answer){.doc = NULL};
}

enum status wire_create(struct share *socket, struct wire **out) {
  struct wire *wire = calloc(1, sizeof *wire);
  const struct line_params params = {.in = (int)socket->value,
                                     .out = (int)socket->value,
                                     .shares = true,
                                     .max_line = CLIENT_LINE_MAX,
                                     .max_queue = 4 * CLIENT_LINE_MAX};
  if (!wire || line_create(&params, &wire->line)) {
    free(wire);
    share_close(socket);
    return STATUS_INTERNAL_ERROR;
  }
  lock_init(&wire->lock, LOCK_RANK_DOOR, "client wire");
  pthread_cond_init(&wire->changed, NULL);
  wire->socket = *socket;
  *socket = (struct share){.kind = SHARE_NONE};
  wire->references = 1;
  *out = wire;
  return STATUS_OK;
}

struct wire *wire_keep(struct wire *wire) {
  LOCK_SCOPE(&wire->lock);
  wire->references++;
  return wire;
}

/* Shut down and not only closed: a forked child may have inherited the socket. */
static void free_wire(struct wire *wire) {
  shutdown((int)wire->socket.value, SHUT_RDWR);
  line_free(wire->line);
  share_close(&wire->socket);
  pthread_cond_destroy(&wire->changed);
  lock_done(&wire->lock);
  free(wire);
}

void wire_let_go(struct wire *wire) {
  if (!wire)
    return;
  lock_take(&wire->lock);
  bool last = !--wire->references;
  lock_give(&wire->lock);
  if (last)
    free_wire(wire);
}

bool wire_is_broken(struct wire *wire) {
  LOCK_SCOPE(&wire->lock);
  return wire->broken;
}

/* ---- lines in ---- */

static struct waiter *find(const struct wire *wire, struct reader_value root) {
  uint64_t id = id_parse(ID_REQUEST, reader_text(reader_get(root, "request_id"), ""));
  struct waiter *waiter = wire->waiters;
  while (waiter && (waiter->id != id || waiter->answer.doc))
    waiter = waiter->next;
  return waiter;
}

/* Takes what the line announced. False: it is not there. */
static bool take_shares(struct wire *wire, struct reader_value root, struct share *first) {
  uint64_t announced = reader_uint(reader_get(root, "fds"), 0);
  for (uint64_t i = 0; i < announced; i++) {
    struct share share;
    if (!line_take_share(wire->line, SHARE_FILE, &share))
      return false;
    if (i)
      share_close(&share);
    else
      *first = share;
  }
  return true;
}

static bool is_event(struct reader_value root) {
  return reader_get(root, "event").json && !reader_get(root, "success").json;
}

static bool on_line(void *arg, char *text, size_t n) {
  struct wire *wire = arg;
  struct wire_answer answer = {.doc = NULL};
  struct problem ignored;
  if (reader_parse(text, n, &answer.doc, &ignored)) {
    wire->broken = true;
    return false;
  }
  struct reader_value root = reader_root(answer.doc);
  bool event = is_event(root);
  struct waiter *waiter = event ? NULL : find(wire, root);
  wire->broken = !take_shares(wire, root, &answer.share) || !(event || waiter);
  if (waiter && !wire->broken)
    waiter->answer = answer;
  else
    wire_answer_done(&answer);
  return !wire->broken;
}

/* ---- waiting; the lock is held, and given back while in poll ---- */

static void wait_for(struct wire *wire, short events) {
  struct pollfd one = {.fd = (int)wire->socket.value, .events = events};
  lock_give(&wire->lock);
  poll(&one, 1, -1);
  lock_take(&wire->lock);
}

static void read_some(struct wire *wire) {
  wire->reading = true;
  wait_for(wire, (short)(line_wants_write(wire->line) ? POLLIN | POLLOUT : POLLIN));
  wire->reading = false;
  if (line_flush(wire->line) || line_read(wire->line, on_line, wire))
    wire->broken = true;
  pthread_cond_broadcast(&wire->changed);
}

/* The reader may be in poll without knowing that there is something to send. */
static void write_some(struct wire *wire) {
  wait_for(wire, POLLOUT);
  if (line_flush(wire->line))
    wire->broken = true;
}

static void send_line(struct wire *wire, const struct buf *text) {
  enum status status = STATUS_RATE_LIMITED;
  while (!wire->broken && status == STATUS_RATE_LIMITED) {
    status = line_send(wire->line, text->data, text->size, NULL, 0);
    if (status == STATUS_RATE_LIMITED)
      write_some(wire);
    else if (status)
      wire->broken = true;
  }
}

static void await(struct wire *wire, const struct waiter *waiter) {
  while (!waiter->answer.doc && !wire->broken) {
    if (!wire->reading)
      read_some(wire);
    else if (line_wants_write(wire->line))
      write_some(wire);
    else
      pthread_cond_wait(&wire->changed, &wire->lock.mutex);
  }
}

/* ---- asking ---- */

static void encode(const struct wire_question *question, uint64_t id, struct buf *text) {
  struct writer w;
  writer_init(&w, text, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_id(&w, "requestId", ID_REQUEST, id);
  writer_text(&w, "action", question->action);
  if (question->data)
    writer_raw(&w, "data", question->data, strlen(question->data));
  if (question->brief)
    writer_bool(&w, "brief", true);
  if (question->key)
    writer_text(&w, "idempotencyKey", question->key);
  writer_end(&w);
}

static void unlink_waiter(struct wire *wire, const struct waiter *waiter) {
  struct waiter **link = &wire->waiters;
  while (*link != waiter)
    link = &(*link)->next;
  *link = waiter->next;
}

static void exchange(struct wire *wire, struct waiter *waiter, const struct buf *text) {
  waiter->next = wire->waiters;
  wire->waiters = waiter;
  send_line(wire, text);
  await(wire, waiter);
  unlink_waiter(wire, waiter);
  pthread_cond_broadcast(&wire->changed);
}

enum status wire_ask(struct wire *wire, const struct wire_question *question,
                     struct wire_answer *out, struct problem *problem) {
  struct waiter waiter = {.id = 0};
  struct buf text BUF_CLEANUP;
  buf_init(&text, CLIENT_LINE_MAX);
  lock_take(&wire->lock);
  waiter.id = ++wire->last_id;
  lock_give(&wire->lock);
  encode(question, waiter.id, &text);
  if (text.failed)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "the request is longer than %zu bytes",
                       CLIENT_LINE_MAX);
  lock_take(&wire->lock);
  exchange(wire, &waiter, &text);
  lock_give(&wire->lock);
  if (!waiter.answer.doc)
    return problem_set(problem, STATUS_NOT_FOUND, "the connection to the daemon broke");
  *out = waiter.answer;
  return STATUS_OK;
}
