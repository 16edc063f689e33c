/*
 * follow: what is under way is asked for several times a second, which costs the daemon less than a
 * bar that moves costs the terminal. The bar is on stderr, so that stdout is the answer alone.
 */
#include "cli/follow.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/writer.h"
#include "cli/paint.h"
#include "cli/show.h"

#define LOOK_NS (200 * CLOCK_MS)
#define BAR 30
#define TEXT 64
#define DATA_MAX ((size_t)1 << 20)

/* ---- pages ---- */

/* The question for the page behind; what was asked ends in '}'. */
static void next_question(const char *asked, const char *cursor, struct buf *out) {
  size_t n = strlen(asked) - 1;
  struct buf text BUF_CLEANUP;
  struct writer w;
  buf_init(&text, DATA_MAX);
  writer_init(&w, &text, WRITER_CAMEL);
  writer_text(&w, NULL, cursor);
  buf_reset(out);
  buf_add(out, asked, n);
  buf_print(out, "%s\"cursor\":%s}", asked[n - 1] == '{' ? "" : ",", buf_text(&text));
  buf_text(out);
}

int follow_pages(struct ask *ask, const struct ask_question *question, struct ask_answer *answer,
                 void (*show)(struct reader_value data)) {
  struct buf data BUF_CLEANUP;
  buf_init(&data, DATA_MAX);
  show(answer->data);
  for (;;) {
    const char *cursor = reader_text(reader_get(answer->data, "nextCursor"), NULL);
    if (!cursor)
      return EXIT_OK;
    next_question(question->data, cursor, &data);
    const struct ask_question next = {.action = question->action, .data = data.data};
    ask_free(answer);
    int code = ask_put(ask, &next, answer);
    if (code)
      return code;
    show(answer->data);
  }
}

/* ---- until the end ---- */

/* What is asked, and by which member of an answer. */
struct look {
  const char *action, *id;
};

static void draw(struct reader_value data) {
  char done[TEXT], all[TEXT], rate[TEXT], bar[BAR + 1];
  double percent = reader_double(reader_get(data, "progressPercent"), 0);
  size_t full = percent < 0 ? 0 : percent > 100 ? BAR : (size_t)(percent * BAR / 100);
  memset(bar, '.', BAR);
  memset(bar, '#', full);
  bar[BAR] = '\0';
  fprintf(stderr, "\r\033[K[%s] %3.0f %%", bar, percent);
  if (reader_get(data, "sizeBytes").json)
    fprintf(stderr, "  %s of %s  %s", paint_text(data, "transferredBytes", done, sizeof done),
            paint_text(data, "sizeBytes", all, sizeof all),
            paint_text(data, "bytesPerSecond", rate, sizeof rate));
  fflush(stderr);
}

static bool has_status(struct reader_value data, const char *status) {
  return strcmp(reader_text(reader_get(data, "status"), ""), status) == 0;
}

static bool runs(struct reader_value data) {
  return has_status(data, "pending") || has_status(data, "in_progress");
}

/* Asks for what `from`, a part of the answer, names. */
static int look_at(struct ask *ask, struct ask_answer *answer, const struct look *look,
                   struct reader_value from) {
  struct buf data BUF_CLEANUP;
  struct writer w;
  buf_init(&data, DATA_MAX);
  writer_init(&w, &data, WRITER_CAMEL);
  writer_object(&w, NULL);
  writer_text(&w, look->id, reader_text(reader_get(from, look->id), ""));
  writer_end(&w);
  const struct ask_question question = {.action = look->action, .data = buf_text(&data)};
  ask_free(answer);
  return ask_put(ask, &question, answer);
}

static int until_end(struct ask *ask, struct ask_answer *answer, const struct look *look) {
  const struct timespec pause = {.tv_nsec = (long)LOOK_NS};
  bool lively = paint_lively(STDERR_FILENO);
  int code = EXIT_OK;
  for (bool first = true; !code && runs(answer->data); first = false) {
    if (lively)
      draw(answer->data);
    if (!first)
      nanosleep(&pause, NULL);
    code = look_at(ask, answer, look, answer->data);
  }
  if (lively)
    fputs("\r\033[K", stderr);
  return code;
}

int follow_transfer(struct ask *ask, struct ask_answer *answer) {
  static const struct look transfer = {"memory.get_transfer", "transferId"};
  int code = until_end(ask, answer, &transfer);
  if (code)
    return code;
  bool ended_well =
      !reader_get(answer->data, "status").json || has_status(answer->data, "completed");
  return ended_well ? EXIT_OK : EXIT_FAILED;
}

int follow_load(struct ask *ask, struct ask_answer *answer) {
  static const struct look job = {"memory.get_job", "jobId"},
                           model = {"memory.get_model_info", "modelId"};
  int code = until_end(ask, answer, &job);
  if (code || !reader_get(answer->data, "status").json)
    return code;
  if (!has_status(answer->data, "completed"))
    return EXIT_FAILED;
  return look_at(ask, answer, &model, reader_get(answer->data, "result"));
}

int follow_events(struct ask *ask, struct ask_answer *answer) {
  int code;
  while (!(code = ask_next(ask, answer)) && answer->data.json && !ferror(stdout)) {
    if (ask->globals->json)
      ask_print_raw(answer);
    else
      show_event(answer->data);
    fflush(stdout);
  }
  return code;
}
