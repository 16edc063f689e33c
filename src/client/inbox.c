/*
 * inbox: a request is answered before the next line is read, so a cancel always comes too late, and
 * says so. `ping` is answered here, that a program without an opinion is not taken for dead.
 */
#include "client/inbox.h"

#include <ctype.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"
#include "base/writer.h"
#include "client/client.h"

#define GREETING_MAX 4096
#define ACTIONS "memory.get_status,memory.optimize,memory.pressure_check"

struct inbox {
  struct listener *listener;
  mk_event_fn *on_event;
  mk_question_fn *on_question;
  void *arg;
};

static enum mk_code open_inbox(const struct listener_params *params, const struct inbox *from,
                               struct inbox **out, struct failure *failure) {
  struct inbox *inbox = malloc(sizeof *inbox);
  if (!inbox)
    return failure_no_memory(failure);
  *inbox = *from;
  struct listener_params mine = *params;
  mine.arg = inbox;
  enum mk_code code = listener_create(&mine, &inbox->listener, failure);
  if (code)
    free(inbox);
  else
    *out = inbox;
  return code;
}

void inbox_close(struct inbox *inbox) {
  if (!inbox)
    return;
  listener_free(inbox->listener);
  free(inbox);
}

/* "{}" where there is none. */
static const char *dump(struct reader_value data, struct buf *text) {
  if (data.json)
    reader_dump(data, text);
  else
    buf_add(text, "{}", 2);
  return buf_text(text);
}

/* ---- events ---- */

static void on_event_line(void *arg, struct listener *listener, struct reader_value root) {
  const struct inbox *inbox = arg;
  struct buf text BUF_CLEANUP;
  (void)listener;
  buf_init(&text, CLIENT_LINE_MAX);
  struct mk_event event = {.type = reader_text(reader_get(root, "event"), NULL)};
  if (!event.type)
    return;
  event.data = dump(reader_get(root, "data"), &text);
  inbox->on_event(inbox->arg, &event);
}

static void on_again(void *arg) {
  const struct inbox *inbox = arg;
  inbox->on_event(inbox->arg, &(struct mk_event){.type = "client.reconnected", .data = "{}"});
}

enum mk_code inbox_open_events(const struct inbox_events *params, struct inbox **out,
                               struct failure *failure) {
  struct buf greeting BUF_CLEANUP;
  struct writer w;
  buf_init(&greeting, GREETING_MAX);
  writer_init(&w, &greeting, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_text(&w, "requestId", "events");
  writer_text(&w, "action", "memory.events");
  writer_object(&w, "data");
  if (params->types)
    writer_text(&w, "types", params->types);
  writer_end(&w);
  writer_end(&w);
  if (greeting.failed)
    return failure_set(failure, MK_INVALID_ARGUMENT, "the list of types is too long");
  const struct inbox inbox = {.on_event = params->fn, .arg = params->arg};
  const struct listener_params listener = {.path = params->path,
                                           .greeting = buf_text(&greeting),
                                           .answered = true,
                                           .line = on_event_line,
                                           .again = on_again};
  return open_inbox(&listener, &inbox, out, failure);
}

/* ---- questions ---- */

static void begin_answer(struct writer *w, struct buf *text, struct reader_value root,
                         bool success) {
  struct buf id BUF_CLEANUP;
  buf_init(&id, CLIENT_LINE_MAX);
  reader_dump(reader_get(root, "request_id"), &id);
  writer_init(w, text, WRITER_SNAKE);
  writer_object(w, NULL);
  writer_raw(w, "requestId", buf_text(&id), id.size);
  writer_bool(w, "success", success);
}

static void send_success(struct listener *listener, struct reader_value root, const char *data) {
  struct buf text BUF_CLEANUP;
  struct writer w;
  buf_init(&text, CLIENT_LINE_MAX);
  begin_answer(&w, &text, root, true);
  writer_raw(&w, "data", data, strlen(data));
  writer_end(&w);
  listener_send(listener, text.data, text.size);
}

static void send_refusal(struct listener *listener, struct reader_value root, enum mk_code code,
                         const char *why) {
  struct buf text BUF_CLEANUP;
  struct writer w;
  buf_init(&text, CLIENT_LINE_MAX);
  begin_answer(&w, &text, root, false);
  writer_text(&w, "errorCode", failure_word(code));
  writer_text(&w, "error", why);
  writer_end(&w);
  listener_send(listener, text.data, text.size);
}

/* On one line and known to be JSON, whatever the program wrote. */
static bool send_checked(struct listener *listener, struct reader_value root, const char *data) {
  struct reader_doc *doc = NULL;
  struct problem ignored;
  struct buf text BUF_CLEANUP;
  buf_init(&text, CLIENT_LINE_MAX / 2);
  if (reader_parse(data, strlen(data), &doc, &ignored))
    return false;
  reader_dump(reader_root(doc), &text);
  reader_free(doc);
  if (text.failed)
    return false;
  send_success(listener, root, buf_text(&text));
  return true;
}

static void ask_program(const struct inbox *inbox, struct listener *listener,
                        struct reader_value root, const struct mk_question *question) {
  char *answer = NULL;
  enum mk_code code = inbox->on_question(inbox->arg, question, &answer);
  if (question->told)
    ;
  else if (code == MK_NOT_FOUND)
    send_refusal(listener, root, code, "this program does not know that action");
  else if (code)
    send_refusal(listener, root, code, "the program refused");
  else if (!send_checked(listener, root, answer ? answer : "{}"))
    send_refusal(listener, root, MK_INTERNAL_ERROR, "the program's answer is no JSON object");
  free(answer);
}

static void on_question_line(void *arg, struct listener *listener, struct reader_value root) {
  const struct inbox *inbox = arg;
  const char *event = reader_text(reader_get(root, "event"), NULL);
  const char *action = reader_text(reader_get(root, "action"), event);
  struct buf text BUF_CLEANUP;
  buf_init(&text, CLIENT_LINE_MAX);
  if (!action)
    return;
  if (strcmp(action, "ping") == 0) {
    send_success(listener, root, "{}");
    return;
  }
  if (strcmp(action, "cancel") == 0) {
    send_success(listener, root, "{\"cancelled\":false}");
    return;
  }
  const struct mk_question question = {.action = action,
                                       .data = dump(reader_get(root, "data"), &text),
                                       .deadline_ms =
                                           reader_uint(reader_get(root, "deadline_ms"), 0),
                                       .told = !reader_get(root, "action").json};
  ask_program(inbox, listener, root, &question);
}

static void write_actions(struct writer *w, const char *actions) {
  writer_array(w, "capabilities");
  while (*actions) {
    size_t n = strcspn(actions, ",");
    if (n)
      writer_text_n(w, NULL, actions, n);
    actions += n + (actions[n] == ',');
  }
  writer_end(w);
}

/* PROGRAM-PID, PROGRAM-PID.1 for the next of this process, in at most 39 bytes of those that the
 * daemon takes. */
static void make_name(char out[40]) {
  static atomic_uint made;
  unsigned number = atomic_fetch_add(&made, 1) % 1000;
  int n = snprintf(out, 29, "%s", program_invocation_short_name);
  for (char *at = out; *at; at++)
    if (!isalnum((unsigned char)*at) && !strchr("._-", *at))
      *at = '_';
  char *end = out + (n < 26 ? n : 26);
  end += snprintf(end, 10, "-%d", (int)getpid());
  if (number)
    snprintf(end, 5, ".%u", number);
}

static void write_hello(struct buf *greeting, const char *actions) {
  struct writer w;
  char name[40];
  make_name(name);
  writer_init(&w, greeting, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_text(&w, "event", "hello");
  writer_object(&w, "data");
  writer_int(&w, "protocol", 1);
  writer_text(&w, "worker", name);
  writer_text(&w, "version", VERSION_TEXT);
  write_actions(&w, actions);
  writer_array(&w, "models");
  writer_end(&w);
  writer_end(&w);
  writer_end(&w);
}

enum mk_code inbox_open_questions(const struct inbox_questions *params, struct inbox **out,
                                  struct failure *failure) {
  struct buf greeting BUF_CLEANUP;
  buf_init(&greeting, GREETING_MAX);
  write_hello(&greeting, params->actions ? params->actions : ACTIONS);
  if (greeting.failed)
    return failure_set(failure, MK_INVALID_ARGUMENT, "the list of actions is too long");
  const struct inbox inbox = {.on_question = params->fn, .arg = params->arg};
  const struct listener_params listener = {
      .path = params->path, .greeting = buf_text(&greeting), .line = on_question_line};
  return open_inbox(&listener, &inbox, out, failure);
}
