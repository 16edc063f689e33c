/*
 * main: the program `memkeep`: finds the verb, turns its words into a question, shows the answer.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "cli/arguments.h"
#include "cli/ask.h"
#include "cli/bench.h"
#include "cli/exec.h"
#include "cli/follow.h"
#include "cli/globals.h"
#include "cli/help.h"
#include "cli/paint.h"
#include "cli/top.h"
#include "cli/verbs.h"

/* What one run asks. */
struct run {
  const struct verb *verb;
  struct arguments arguments;
  struct ask_question question;
};

static int misused(const struct problem *problem) {
  fprintf(stderr, "memkeep: %s\n", problem->text);
  return EXIT_USAGE;
}

static int misused_verb(const struct globals *globals, const struct problem *problem) {
  misused(problem);
  help_hint(stderr, globals);
  return EXIT_USAGE;
}

/* --timeout also bounds how long the daemon holds the answer. */
static enum status pass_timeout(const struct globals *globals, struct arguments *arguments,
                                struct problem *problem) {
  char seconds[24];
  uint64_t n = globals->timeout_ns / UINT64_C(1000000000);
  bool wanted = n && table_field(arguments->operation, "timeout") >= 0 &&
                !arguments_said(arguments, "timeout");
  if (!wanted)
    return STATUS_OK;
  snprintf(seconds, sizeof seconds, "%u", n < 600 ? (unsigned)n : 600);
  return arguments_add(arguments, "timeout", seconds, problem);
}

static void show(const struct globals *globals, const struct run *run, struct ask_answer *answer) {
  if (globals->json)
    ask_print_raw(answer);
  else
    run->verb->show(answer->data);
}

static int put(struct ask *ask, const struct run *run, struct ask_answer *answer) {
  const struct verb *verb = run->verb;
  static int (*const follow[])(struct ask *, struct ask_answer *) = {
      [VERB_TRANSFER] = follow_transfer, [VERB_MODEL] = follow_load, [VERB_EVENTS] = follow_events};
  bool follows = verb->follows && !arguments_said(&run->arguments, "wait");
  int code = ask_put(ask, &run->question, answer);
  if (code)
    return code;
  if (follows)
    code = follow[verb->follows](ask, answer);
  if (verb->pages && !ask->globals->json && !arguments_said(&run->arguments, "cursor"))
    return follow_pages(ask, &run->question, answer, verb->show);
  if (answer->data.json)
    show(ask->globals, run, answer);
  if (code && !ask->globals->json) /* a job that failed */
    ask_advise(ask->globals, reader_text(reader_get(answer->data, "errorCode"), ""));
  return code;
}

static int ask_daemon(const struct globals *globals, const struct run *run) {
  struct ask ask;
  struct ask_answer answer;
  ask_init(&ask, globals);
  int code = put(&ask, run, &answer);
  ask_free(&answer);
  ask_done(&ask);
  return code;
}

/* What is no question, but a program of its own. */
static int run_program(const struct globals *globals, struct run *run) {
  static int (*const programs[])(const struct globals *, struct reader_value) = {
      [VERB_TOP] = top_run, [VERB_BENCH] = bench_run};
  struct reader_doc *doc;
  struct problem problem;
  struct buf *said = &run->arguments.data;
  enum status status = reader_parse(said->data, said->size, &doc, &problem);
  int code = status ? misused(&problem) : programs[run->verb->program](globals, reader_root(doc));
  if (!status)
    reader_free(doc);
  buf_done(said);
  return code;
}

static int run_verb(const struct globals *globals, const struct verb *verb) {
  struct problem problem;
  struct run run = {.verb = verb};
  int size = verbs_size(verb);
  enum status status =
      arguments_read(verb, globals->words + size, globals->count - size, &run.arguments, &problem);
  if (!status)
    status = pass_timeout(globals, &run.arguments, &problem);
  if (!status)
    status = arguments_end(&run.arguments, verb->defaults, &problem);
  if (!status && verb->program)
    return run_program(globals, &run);
  if (!status && verb->follows == VERB_EVENTS && globals->url)
    status = problem_set(&problem, STATUS_INVALID_ARGUMENT,
                         "events are told over the socket; over HTTP any client reads the stream");
  run.question = (struct ask_question){run.arguments.operation->action, run.arguments.data.data,
                                       verb->detached};
  int code = status ? misused_verb(globals, &problem) : ask_daemon(globals, &run);
  buf_done(&run.arguments.data);
  return code;
}

static int run_exec(const struct globals *globals) {
  static const struct verb exec = {.name = "exec", .detached = true, .show = paint_all};
  const struct cli_operation unknown = {.action = globals->words[1]};
  struct problem problem;
  struct run run = {.verb = &exec};
  if (globals->count < 2) {
    problem_set(&problem, STATUS_MISSING_PARAMETER,
                "exec wants an action: memkeep exec --help lists them");
    return misused(&problem);
  }
  const struct cli_operation *operation = table_find(globals->words[1]);
  enum status status = arguments_read_exec(operation ? operation : &unknown, globals->words + 2,
                                           globals->count - 2, &run.arguments, &problem);
  if (!status)
    status = arguments_end(&run.arguments, NULL, &problem);
  run.question = (struct ask_question){globals->words[1], run.arguments.data.data, true};
  int code = status ? misused_verb(globals, &problem) : ask_daemon(globals, &run);
  buf_done(&run.arguments.data);
  return code;
}

static int help(const struct globals *globals) {
  const char *name = globals->count ? globals->words[0] : "";
  const struct verb *verb = verbs_find(globals->words, globals->count);
  const struct cli_operation *operation = globals->count > 1 ? table_find(globals->words[1]) : NULL;
  if (verb)
    help_verb(verb);
  else if (strcmp(name, "exec") != 0)
    help_group(name);
  else if (operation)
    help_operation(operation);
  else
    help_exec();
  return EXIT_OK;
}

static int obey(const struct globals *globals) {
  struct problem problem;
  if (globals->help)
    return help(globals);
  if (globals->version) {
    puts("memkeep " VERSION_TEXT);
    return EXIT_OK;
  }
  if (!globals->count) {
    help_program(stderr);
    return EXIT_USAGE;
  }
  const struct verb *verb = verbs_find(globals->words, globals->count);
  if (verb)
    return run_verb(globals, verb);
  if (strcmp(globals->words[0], "exec") == 0)
    return exec_is_meant(globals) ? exec_run(globals) : run_exec(globals);
  bool second = globals->count > 1, group = help_is_group(globals->words[0]);
  problem_set(&problem, STATUS_INVALID_ARGUMENT,
              "there is no verb \"%.60s%s%.60s\": memkeep %.60s%s--help lists them",
              globals->words[0], second ? " " : "", second ? globals->words[1] : "",
              group ? globals->words[0] : "", group ? " " : "");
  return misused(&problem);
}

int main(int argc, char **argv) {
  setlocale(LC_CTYPE, ""); /* how wide characters are */
  struct globals globals;
  struct problem problem;
  if (globals_take(argc, argv, &globals, &problem))
    return misused(&problem);
  int code = obey(&globals);
  if (!fflush(stdout) && !ferror(stdout))
    return code;
  fprintf(stderr, "memkeep: the output could not be written: %s\n", strerror(errno));
  return code ? code : EXIT_FAILED;
}
