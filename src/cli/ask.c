/*
 * ask: answers are always asked for in HTTP's form, so that --json prints what curl would, and
 * there is one form to read. A refusal of what was asked (400) is a usage error, for the words came
 * from the user.
 */
#include "cli/ask.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "cli/help.h"
#include "cli/paint.h"
#include "cli/route.h"

#define TEXT 512

/* What can be done about it, where the message does not say. */
static const struct {
  const char *code, *advice, *verb; /* of this verb only; NULL: of any */
} advices[] = {
    {"ALLOCATION_BUSY", "wait until it is not in use, or say --force", "free"},
    {"ALLOCATION_BUSY", "wait until it is not in use", "transfer"},
    {"INSUFFICIENT_MEMORY", "free or clear something: memkeep ps, memkeep clear", NULL},
    {"INSUFFICIENT_MEMORY", "or wait for memory: --wait 30s", "alloc"},
    {"ALLOCATION_TOO_LARGE", "see memkeep limits, or choose another device: memkeep status", NULL},
    {"QUOTA_EXCEEDED", "see memkeep limits", NULL},
    {"ALLOCATION_NOT_FOUND", "memkeep ps lists those there are", NULL},
    {"DEVICE_NOT_FOUND", "memkeep devices lists those there are", NULL},
    {"MODEL_NOT_FOUND",
     "memkeep model ls lists those there are; files are named as the daemon sees them", NULL},
    {"WORKER_NOT_FOUND", "memkeep workers lists those there are", NULL},
    {"TRANSFER_NOT_FOUND", "memkeep transfers lists those of the last hour", NULL},
    {"NOT_FOUND", "memkeep jobs lists those of the last hour", "jobs"},
    {"NOT_FOUND", "memkeep exec --help lists them", "exec"},
    {"ALLOCATION_LOST", "its bytes are gone; memkeep free, or clear --scope lost, ends it", NULL},
    {"RATE_LIMITED", "ask again in a moment", NULL},
    {"WORKER_UNAVAILABLE", "see memkeep workers", NULL},
    {"DEVICE_UNAVAILABLE", "memkeep status says how the device is", NULL},
    {"FORBIDDEN", "ask as the daemon's user or as root, or with a token of a higher role", NULL},
    {"UNAUTHORIZED", "name a file with a token: --token-file FILE", NULL},
};

void ask_init(struct ask *ask, const struct globals *globals) {
  *ask = (struct ask){.globals = globals};
  if (globals->timeout_ns)
    ask->deadline = clock_now() + globals->timeout_ns;
}

void ask_done(struct ask *ask) {
  client_free(ask->client);
  url_free(ask->url);
}

static int complain(const struct problem *problem, int code) {
  fprintf(stderr, "memkeep: %s\n", problem->text);
  return code;
}

static int open_url(struct ask *ask, struct problem *problem) {
  enum status status = url_open(ask->globals->url, ask->globals->token_file, &ask->url, problem);
  if (!status)
    return EXIT_OK;
  return status == STATUS_INVALID_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
}

static int connect_now(struct ask *ask, struct problem *problem) {
  char path[TEXT];
  if (ask->globals->url)
    return open_url(ask, problem);
  const char *said = ask->globals->socket;
  if (!said && client_default_path(path, sizeof path)) {
    problem_set(problem, STATUS_INVALID_ARGUMENT, "the default socket's path is too long");
    return EXIT_USAGE;
  }
  enum status status = client_connect(said ? said : path, &ask->client, problem);
  if (!status)
    return EXIT_OK;
  return status == STATUS_INVALID_ARGUMENT ? EXIT_USAGE : EXIT_UNREACHABLE;
}

/* ---- refusals ---- */

/* "  available: host:0, host:1"; of objects, what their members hold. */
static void say_list(const char *name, struct reader_value list) {
  char text[TEXT];
  for (size_t i = 0; i < reader_count(list); i++) {
    struct reader_value one = reader_at(list, i), member;
    void *iterator = NULL;
    if (i)
      putc(',', stderr);
    else
      fprintf(stderr, "  %s:", name);
    if (!reader_is_object(one))
      fprintf(stderr, " %s", paint_value("", one, text, sizeof text));
    for (const char *key; (key = reader_next(one, &iterator, &member));)
      fprintf(stderr, " %s", paint_value(key, member, text, sizeof text));
  }
  if (reader_count(list))
    putc('\n', stderr);
}

static void say_details(struct reader_value details) {
  struct reader_value member;
  void *iterator = NULL;
  char text[TEXT];
  for (const char *key; (key = reader_next(details, &iterator, &member));)
    if (reader_is_array(member))
      say_list(key, member);
    else if (strcmp(key, "field") != 0)
      fprintf(stderr, "  %s: %s\n", key, paint_text(details, key, text, sizeof text));
}

static bool is_advised(const char *verb, const struct globals *globals) {
  return !verb || (globals->count && strcmp(globals->words[0], verb) == 0);
}

void ask_advise(const struct globals *globals, const char *code) {
  fflush(stdout); /* what it is about stands there */
  for (size_t i = 0; i < sizeof advices / sizeof *advices; i++)
    if (strcmp(advices[i].code, code) == 0 && is_advised(advices[i].verb, globals))
      fprintf(stderr, "  %s\n", advices[i].advice);
}

static void say_refusal(const struct globals *globals, struct reader_value error) {
  const char *code = reader_text(reader_get(error, "code"), "INTERNAL_ERROR");
  const char *message = reader_text(reader_get(error, "message"), "the daemon gave no reason");
  fprintf(stderr, "memkeep: %s: %s\n", code, message);
  say_details(reader_get(error, "details"));
  ask_advise(globals, code);
  if (reader_uint(reader_get(error, "statusCode"), 0) == 400)
    help_hint(stderr, globals);
}

static int judge(struct ask_answer *answer, struct problem *problem) {
  if (reader_parse(answer->text.data, answer->text.size, &answer->doc, problem)) {
    problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon's answer cannot be understood");
    return EXIT_FAILED;
  }
  struct reader_value root = reader_root(answer->doc), error = reader_get(root, "error");
  if (reader_bool(reader_get(root, "success"), false)) {
    answer->data = reader_get(root, "data");
    return EXIT_OK;
  }
  problem_set(problem, STATUS_CONFLICT, "%s",
              reader_text(reader_get(error, "message"), "the daemon gave no reason"));
  answer->error = error;
  return reader_uint(reader_get(error, "statusCode"), 0) == 400 ? EXIT_USAGE : EXIT_FAILED;
}

/* ---- questions ---- */

/* What is left of --timeout; 0: there is none. */
static uint64_t time_left(const struct ask *ask) {
  uint64_t now = clock_now();
  if (!ask->deadline)
    return 0;
  return ask->deadline > now ? ask->deadline - now : 1;
}

static enum status exchange_url(struct ask *ask, const struct ask_question *question,
                                struct ask_answer *out, struct problem *problem) {
  struct route route;
  enum status status = route_make(question->action, question->data, &route, problem);
  if (!status)
    status = url_call(ask->url, &route, time_left(ask), &out->text, problem);
  route_done(&route);
  return status;
}

static enum status exchange(struct ask *ask, const struct ask_question *question,
                            struct ask_answer *out, struct problem *problem) {
  if (ask->url)
    return exchange_url(ask, question, out, problem);
  const struct client_request request = {.action = question->action,
                                         .data = question->data,
                                         .envelope = true,
                                         .detached = question->detached,
                                         .timeout_ns = time_left(ask)};
  return client_call(ask->client, &request, &out->text, problem);
}

int ask_try(struct ask *ask, const struct ask_question *question, struct ask_answer *out,
            struct problem *problem) {
  *out = (struct ask_answer){.doc = NULL};
  buf_init(&out->text, CLIENT_LINE_MAX);
  int code = ask->client || ask->url ? EXIT_OK : connect_now(ask, problem);
  if (code)
    return code;
  enum status status = exchange(ask, question, out, problem);
  if (!status)
    return judge(out, problem);
  switch (status) {
  case STATUS_INVALID_ARGUMENT:
    return EXIT_USAGE;
  case STATUS_NOT_FOUND:
    return EXIT_UNREACHABLE;
  default:
    return EXIT_FAILED;
  }
}

int ask_put(struct ask *ask, const struct ask_question *question, struct ask_answer *out) {
  struct problem problem;
  int code = ask_try(ask, question, out, &problem);
  if (code && !out->error.json)
    return complain(&problem, code);
  if (code && ask->globals->json)
    ask_print_raw(out);
  if (code)
    say_refusal(ask->globals, out->error);
  return code;
}

int ask_next(struct ask *ask, struct ask_answer *answer) {
  struct problem problem;
  bool over = ask->deadline && clock_now() >= ask->deadline;
  ask_free(answer);
  *answer = (struct ask_answer){.doc = NULL};
  buf_init(&answer->text, CLIENT_LINE_MAX);
  enum status status = over ? STATUS_WORKER_TIMEOUT
                            : client_listen(ask->client, time_left(ask), &answer->text, &problem);
  if (status == STATUS_WORKER_TIMEOUT)
    return EXIT_OK;
  if (!status)
    status = reader_parse(answer->text.data, answer->text.size, &answer->doc, &problem);
  if (status)
    return complain(&problem, status == STATUS_NOT_FOUND ? EXIT_UNREACHABLE : EXIT_FAILED);
  answer->data = reader_get(reader_root(answer->doc), "data");
  return EXIT_OK;
}

void ask_free(struct ask_answer *answer) {
  if (answer->doc)
    reader_free(answer->doc);
  buf_done(&answer->text);
}

void ask_print_raw(struct ask_answer *answer) {
  fwrite(answer->text.data, 1, answer->text.size, stdout);
  putchar('\n');
}
