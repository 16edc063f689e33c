/*
 * top: keys and news are looked for several times a second; in between it sleeps. Signals wait
 * (they are blocked) until the loop takes them, so that the terminal is given back before the
 * program stops or dies of one.
 */
#include "cli/top.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/ending.h"
#include "cli/top/asker.h"
#include "cli/top/draw.h"
#include "cli/top/screen.h"

#define LOOK_MS 50
#define INTERVAL_MIN_MS 100

struct top {
  struct top_screen *screen;
  struct top_canvas canvas;
  struct top_view view;
  struct top_asker *asker;
  struct top_snapshot *snapshot;
  char trouble[TOP_ASK_MAX];
  struct ending ending;
  int signal; /* that ends it; 0: none has come */
};

/* ---- signals ---- */

static const int held[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};

/* True: what is shown has to be drawn anew. */
static bool take_signals(struct top *top) {
  bool any = false;
  for (int number; (number = ending_next(&top->ending)); any = true)
    if (number == SIGTSTP) {
      top_screen_leave(top->screen);
      raise(SIGSTOP);
    } else if (number == SIGWINCH) {
      top_screen_repaint();
    } else {
      top->signal = number;
    }
  return any;
}

/* ---- news ---- */

static void wish(struct top *top) {
  const struct top_place *place = &top->view.places[TOP_BLOCKS];
  const struct top_column *column = &top_columns[TOP_BLOCKS].columns[place->sort];
  bool age = column->kind == TOP_AGE;
  const struct top_wish wish = {.sort = column->word ? column->word : "sizeBytes",
                                .descending = !column->word || place->descending != age,
                                .pages = *top->view.filter ? TOP_PAGES_MAX : 1};
  top_asker_wish(top->asker, &wish);
}

static void act(struct top *top) {
  const struct top_deed *deed = top->view.deed;
  char data[TOP_ASK_MAX];
  snprintf(data, sizeof data, "{\"%s\":\"%s\"%s%s}", deed->id, top->view.deed_id, deed->more,
           top->view.forced ? ",\"force\":true" : "");
  top_asker_do(top->asker, deed->action, data);
}

/* True: there are some. */
static bool take_news(struct top *top) {
  struct top_news news;
  top_asker_take(top->asker, &news);
  bool changed = news.snapshot || news.done || strcmp(news.trouble, top->trouble) != 0;
  snprintf(top->trouble, sizeof top->trouble, "%s", news.trouble);
  if (news.snapshot) {
    top_view_refresh(&top->view, news.snapshot);
    top_snapshot_free(top->snapshot);
    top->snapshot = news.snapshot;
  }
  if (news.done)
    top_view_tell(&top->view, news.error, news.text);
  return changed;
}

static void draw(struct top *top) {
  const struct top_scene scene = {top->snapshot, top->trouble};
  if (!top_screen_begin(top->screen, &top->canvas))
    return;
  top_draw(&top->canvas, &scene, &top->view);
  top_screen_draw(top->screen, &top->canvas);
}

static void loop(struct top *top) {
  uint32_t key;
  bool there = true;
  draw(top);
  while (there && !top->view.ended && !top->signal) {
    there = top_screen_key(top->screen, LOOK_MS, &key);
    bool changed = take_signals(top);
    changed |= take_news(top);
    if (key != TOP_KEY_NONE) {
      if (top_view_key(&top->view, top->snapshot, key))
        act(top);
      top_view_refresh(&top->view, top->snapshot);
      wish(top);
      changed = true;
    }
    if (changed)
      draw(top);
  }
}

static int misused(const struct problem *problem) {
  fprintf(stderr, "memkeep: %s\n", problem->text);
  return problem->status == STATUS_INVALID_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
}

static int run(struct top *top, const struct globals *globals, uint64_t interval_ns) {
  struct problem problem;
  if (top_screen_open(&top->screen, &problem))
    return misused(&problem);
  top->asker = top_asker_create(globals, interval_ns);
  if (top->asker)
    loop(top);
  top_screen_close(top->screen);
  top_asker_free(top->asker);
  top_snapshot_free(top->snapshot);
  top_view_done(&top->view);
  top_canvas_done(&top->canvas);
  return top->asker ? EXIT_OK : EXIT_FAILED;
}

int top_run(const struct globals *globals, struct reader_value said) {
  uint64_t interval_ms = reader_uint(reader_get(said, "intervalMs"), 1000);
  struct top top = {.screen = NULL};
  struct problem problem;
  if (globals->json) {
    problem_set(&problem, STATUS_INVALID_ARGUMENT,
                "top is for people; for programs there is memkeep status --json");
    return misused(&problem);
  }
  top_view_init(&top.view);
  ending_hold(&top.ending, held, sizeof held / sizeof *held);
  interval_ms = interval_ms < INTERVAL_MIN_MS ? INTERVAL_MIN_MS : interval_ms;
  int code = run(&top, globals, interval_ms * CLOCK_MS);
  if (top.signal)
    ending_obey(top.signal);
  return code;
}
