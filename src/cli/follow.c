/*
 * follow: a transfer is asked for several times a second, which costs the daemon less than a bar
 * that moves costs the terminal. The bar is on stderr, so that stdout is the answer alone.
 */
#include "cli/follow.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/writer.h"
#include "cli/paint.h"

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

/* ---- transfers ---- */

static void draw(struct reader_value data) {
  char done[TEXT], all[TEXT], rate[TEXT], bar[BAR + 1];
  double percent = reader_double(reader_get(data, "progressPercent"), 0);
  size_t full = percent < 0 ? 0 : percent > 100 ? BAR : (size_t)(percent * BAR / 100);
  memset(bar, '.', BAR);
  memset(bar, '#', full);
  bar[BAR] = '\0';
  fprintf(stderr, "\r\033[K[%s] %3.0f %%  %s of %s  %s", bar, percent,
          paint_text(data, "transferredBytes", done, sizeof done),
          paint_text(data, "sizeBytes", all, sizeof all),
          paint_text(data, "bytesPerSecond", rate, sizeof rate));
  fflush(stderr);
}

static bool runs(struct reader_value data) {
  const char *status = reader_text(reader_get(data, "status"), "");
  return strcmp(status, "pending") == 0 || strcmp(status, "in_progress") == 0;
}

static int look_again(struct ask *ask, struct ask_answer *answer) {
  struct buf data BUF_CLEANUP;
  struct writer w;
  buf_init(&data, DATA_MAX);
  writer_init(&w, &data, WRITER_CAMEL);
  writer_object(&w, NULL);
  writer_text(&w, "transferId", reader_text(reader_get(answer->data, "transferId"), ""));
  writer_end(&w);
  const struct ask_question question = {.action = "memory.get_transfer", .data = buf_text(&data)};
  ask_free(answer);
  return ask_put(ask, &question, answer);
}

int follow_transfer(struct ask *ask, struct ask_answer *answer) {
  const struct timespec pause = {.tv_nsec = (long)LOOK_NS};
  bool lively = paint_lively(STDERR_FILENO);
  int code = EXIT_OK;
  for (bool first = true; !code && runs(answer->data); first = false) {
    if (lively)
      draw(answer->data);
    if (!first)
      nanosleep(&pause, NULL);
    code = look_again(ask, answer);
  }
  if (lively)
    fputs("\r\033[K", stderr);
  if (code)
    return code;
  const char *status = reader_text(reader_get(answer->data, "status"), "completed");
  return strcmp(status, "completed") == 0 ? EXIT_OK : EXIT_FAILED;
}
