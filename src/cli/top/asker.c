/*
 * asker: one thread, one connection. The lock is held for a few assignments, never over a question.
 */
#include "cli/top/asker.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/writer.h"
#include "cli/ask.h"

#define PATIENCE_NS (5 * CLOCK_SECOND) /* for one answer, unless --timeout says otherwise */
#define DATA_MAX ((size_t)64 << 10)

struct top_asker {
  const struct globals *globals;
  uint64_t interval_ns;
  pthread_t thread;
  struct lock lock; /* over all below but ask */
  pthread_cond_t stir;
  bool ended, hurry; /* hurry: do not wait for the interval */
  struct top_wish wish;
  char *action, *data; /* to be done; NULL: nothing */
  struct top_news news;
  struct ask ask; /* the thread's */
};

/* ---- questions ---- */

static int put(struct top_asker *asker, const char *action, const char *data,
               struct ask_answer *answer, struct problem *problem) {
  uint64_t patience = asker->globals->timeout_ns ? asker->globals->timeout_ns : PATIENCE_NS;
  const struct ask_question question = {.action = action, .data = data, .detached = true};
  asker->ask.deadline = clock_now() + patience;
  int code = ask_try(&asker->ask, &question, answer, problem);
  if (code && !answer->error.json) { /* of no more use */
    ask_done(&asker->ask);
    ask_init(&asker->ask, asker->globals);
  }
  return code;
}

static const char *code_of(const struct ask_answer *answer) {
  return reader_text(reader_get(answer->error, "code"), "UNREACHABLE");
}

/* A part that is refused stays empty; false: the daemon was not reached, or refuses everything. */
static bool ask_part(struct top_asker *asker, struct top_snapshot *snapshot, enum top_part part,
                     const char *data, struct problem *problem) {
  static const char *const actions[] = {"memory.get_status", "memory.get_usage",
                                        "memory.list_models", "memory.list_transfers",
                                        "memory.list_allocations"};
  struct ask_answer answer;
  int code =
      put(asker, actions[part < TOP_ALLOCATIONS ? part : TOP_ALLOCATIONS], data, &answer, problem);
  if (!code) {
    snapshot->parts[part] = answer.doc;
    answer.doc = NULL;
  }
  bool refused = code && answer.error.json;
  if (refused)
    snprintf(problem->text, sizeof problem->text, "%s: %s", code_of(&answer),
             reader_text(reader_get(answer.error, "message"), ""));
  ask_free(&answer);
  return !code || (refused && part != TOP_STATUS);
}

static void page_question(const struct top_wish *wish, const char *cursor, struct buf *out) {
  struct writer w;
  buf_reset(out);
  writer_init(&w, out, WRITER_CAMEL);
  writer_object(&w, NULL);
  writer_uint(&w, "limit", 1000);
  writer_text(&w, "sort", wish->sort);
  writer_text(&w, "order", wish->descending ? "desc" : "asc");
  if (cursor)
    writer_text(&w, "cursor", cursor);
  writer_end(&w);
}

static bool ask_pages(struct top_asker *asker, struct top_snapshot *snapshot,
                      const struct top_wish *wish, struct problem *problem) {
  struct buf data BUF_CLEANUP;
  const char *cursor = NULL;
  buf_init(&data, DATA_MAX);
  for (int page = 0; page < wish->pages && (!page || cursor); page++) {
    enum top_part part = (enum top_part)(TOP_ALLOCATIONS + page);
    page_question(wish, cursor, &data);
    if (!ask_part(asker, snapshot, part, buf_text(&data), problem))
      return false;
    cursor = reader_text(reader_get(top_snapshot_data(snapshot, part), "nextCursor"), NULL);
  }
  return true;
}

static bool ask_all(struct top_asker *asker, struct top_snapshot *snapshot,
                    const struct top_wish *wish, struct problem *problem) {
  return ask_part(asker, snapshot, TOP_STATUS, "{}", problem) &&
         ask_part(asker, snapshot, TOP_USAGE, "{\"window\":\"1m\",\"points\":1}", problem) &&
         ask_part(asker, snapshot, TOP_MODELS, "{\"limit\":1000}", problem) &&
         ask_part(asker, snapshot, TOP_TRANSFERS, "{\"limit\":100,\"order\":\"desc\"}", problem) &&
         ask_pages(asker, snapshot, wish, problem);
}

/* ---- the thread ---- */

static void look(struct top_asker *asker) {
  struct problem problem = {.status = STATUS_OK};
  struct top_wish wish;
  lock_take(&asker->lock);
  wish = asker->wish;
  asker->hurry = false;
  lock_give(&asker->lock);
  struct top_snapshot *snapshot = calloc(1, sizeof *snapshot);
  bool reached = snapshot && ask_all(asker, snapshot, &wish, &problem);
  LOCK_SCOPE(&asker->lock);
  struct top_snapshot *old = reached ? asker->news.snapshot : snapshot;
  if (reached)
    asker->news.snapshot = snapshot;
  snprintf(asker->news.trouble, sizeof asker->news.trouble, "%s", reached ? "" : problem.text);
  top_snapshot_free(old);
}

static void act(struct top_asker *asker, const char *action, const char *data) {
  struct ask_answer answer;
  struct problem problem;
  int code = put(asker, action, data, &answer, &problem);
  LOCK_SCOPE(&asker->lock);
  asker->news.done = true;
  snprintf(asker->news.error, sizeof asker->news.error, "%s", code ? code_of(&answer) : "");
  snprintf(asker->news.text, sizeof asker->news.text, "%s", code ? problem.text : "");
  ask_free(&answer);
}

/* What is to be done next, the caller's now; NULL: nothing. */
static char *take_deed(struct top_asker *asker, char **data) {
  LOCK_SCOPE(&asker->lock);
  char *action = asker->action;
  *data = asker->data;
  asker->action = asker->data = NULL;
  return action;
}

/* Until the time has come, or somebody wants something; false: the end. */
static bool wait_until(struct top_asker *asker, uint64_t when) {
  const struct timespec at = clock_timespec(when);
  LOCK_SCOPE(&asker->lock);
  while (!asker->ended && !asker->hurry && !asker->action && clock_now() < when)
    pthread_cond_timedwait(&asker->stir, &asker->lock.mutex, &at);
  return !asker->ended;
}

static void *run(void *arg) {
  struct top_asker *asker = arg;
  uint64_t begun;
  do {
    char *data, *action = take_deed(asker, &data);
    if (action)
      act(asker, action, data);
    free(action);
    free(data);
    begun = clock_now();
    look(asker);
  } while (wait_until(asker, begun + asker->interval_ns));
  ask_done(&asker->ask);
  return NULL;
}

/* ---- life ---- */

static bool start(struct top_asker *asker) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = !pthread_create(&asker->thread, NULL, run, asker);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return started;
}

static void forget(struct top_asker *asker) {
  pthread_cond_destroy(&asker->stir);
  lock_done(&asker->lock);
  top_snapshot_free(asker->news.snapshot);
  free(asker->action);
  free(asker->data);
  free(asker);
}

struct top_asker *top_asker_create(const struct globals *globals, uint64_t interval_ns) {
  struct top_asker *asker = calloc(1, sizeof *asker);
  if (!asker)
    return NULL;
  asker->globals = globals;
  asker->interval_ns = interval_ns;
  asker->wish = (struct top_wish){"sizeBytes", true, 1};
  lock_init(&asker->lock, LOCK_RANK_LEAF, "asker");
  lock_cond_init(&asker->stir);
  ask_init(&asker->ask, globals);
  if (start(asker))
    return asker;
  forget(asker);
  return NULL;
}

void top_asker_free(struct top_asker *asker) {
  if (!asker)
    return;
  lock_take(&asker->lock);
  asker->ended = true;
  pthread_cond_signal(&asker->stir);
  lock_give(&asker->lock);
  pthread_join(asker->thread, NULL);
  forget(asker);
}

/* ---- the screen's side ---- */

void top_asker_wish(struct top_asker *asker, const struct top_wish *wish) {
  LOCK_SCOPE(&asker->lock);
  bool same = strcmp(asker->wish.sort, wish->sort) == 0 &&
              asker->wish.descending == wish->descending && asker->wish.pages == wish->pages;
  if (same)
    return;
  asker->wish = *wish;
  asker->hurry = true;
  pthread_cond_signal(&asker->stir);
}

void top_asker_do(struct top_asker *asker, const char *action, const char *data) {
  LOCK_SCOPE(&asker->lock);
  free(asker->action);
  free(asker->data);
  asker->action = strdup(action);
  asker->data = strdup(data);
  pthread_cond_signal(&asker->stir);
}

void top_asker_take(struct top_asker *asker, struct top_news *out) {
  LOCK_SCOPE(&asker->lock);
  *out = asker->news;
  asker->news.snapshot = NULL;
  asker->news.done = false;
}
