/*
 * screen: the canvas is put cell by cell; ncurses sends what differs from the time before. Without
 * colours (or with NO_COLOR) styles are attributes only, and a locale that is no UTF-8 gets ASCII.
 */
#include "cli/top/screen.h"

#include "cli/paint.h"
#include "cli/top/view.h"

#include <langinfo.h>
#include <ncursesw/curses.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <term.h>
#include <unistd.h>

#define REDRAW ('L' & 0x1f)
#define ESCAPE_MS 50 /* how long the rest of a key's sequence may take, over ssh too */

struct top_screen {
  SCREEN *terminal;
  bool ascii, colours;
};

/* ---- life ---- */

static void begin_colours(struct top_screen *screen) {
  static const short colours[TOP_STYLES] = {
      [TOP_GOOD] = COLOR_GREEN,     [TOP_WARNING] = COLOR_YELLOW, [TOP_BAD] = COLOR_RED,
      [TOP_USED] = COLOR_BLUE,      [TOP_CACHED] = COLOR_CYAN,    [TOP_EXTERNAL] = COLOR_MAGENTA,
      [TOP_RESERVED] = COLOR_YELLOW};
  screen->colours = has_colors() && paint_lively(STDOUT_FILENO) && start_color() == OK;
  if (!screen->colours)
    return;
  use_default_colors();
  for (int style = 0; style < TOP_STYLES; style++)
    if (colours[style])
      init_pair((short)(style + 1), colours[style], -1);
}

/* Asked first, for a library that has begun with a terminal that is none keeps some memory. */
static bool can_be_drawn_on(void) {
  int ignored;
  if (setupterm(NULL, STDOUT_FILENO, &ignored) != OK)
    return false;
  bool can = tigetstr("cup");
  del_curterm(cur_term);
  return can;
}

enum status top_screen_open(struct top_screen **out, struct problem *problem) {
  const char *term = getenv("TERM");
  if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "top wants a terminal; without one: memkeep status, memkeep ps");
  if (!can_be_drawn_on())
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "top cannot draw on a terminal of the type \"%.40s\" (TERM): memkeep "
                       "status and memkeep ps can",
                       term ? term : "");
  struct top_screen *screen = calloc(1, sizeof *screen);
  if (screen)
    screen->terminal = newterm(NULL, stdout, stdin);
  if (!screen || !screen->terminal) {
    free(screen);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "out of memory");
  }
  screen->ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
  cbreak();
  noecho();
  nonl();
  keypad(stdscr, TRUE);
  curs_set(0);
  set_escdelay(ESCAPE_MS);
  begin_colours(screen);
  *out = screen;
  return STATUS_OK;
}

void top_screen_leave(struct top_screen *screen) {
  if (screen->terminal)
    endwin();
}

void top_screen_close(struct top_screen *screen) {
  if (!screen)
    return;
  top_screen_leave(screen);
  if (screen->terminal)
    delscreen(screen->terminal);
  free(screen);
}

/* ---- drawing ---- */

void top_screen_repaint(void) { clearok(curscr, TRUE); }

bool top_screen_begin(struct top_screen *screen, struct top_canvas *canvas) {
  struct winsize size;
  bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col;
  if (known && (size.ws_row != LINES || size.ws_col != COLS))
    resizeterm(size.ws_row, size.ws_col);
  canvas->ascii = screen->ascii;
  return top_canvas_begin(canvas, COLS, LINES);
}

static void put_cell(const struct top_screen *screen, const struct top_cell *cell) {
  static const attr_t looks[TOP_STYLES] = {
      [TOP_DIM] = A_DIM, [TOP_BOLD] = A_BOLD, [TOP_HEADER] = A_UNDERLINE, [TOP_BAD] = A_BOLD};
  const wchar_t text[2] = {(wchar_t)cell->glyph, L'\0'};
  attr_t look = looks[cell->style] | (cell->marked ? A_REVERSE : 0);
  short pair = screen->colours ? (short)(cell->style + 1) : 0;
  cchar_t out;
  if (setcchar(&out, text, look, pair, NULL) == OK)
    add_wch(&out);
}

void top_screen_draw(struct top_screen *screen, const struct top_canvas *canvas) {
  erase();
  for (int row = 0; row < canvas->height; row++)
    for (int column = 0; column < canvas->width; column++) {
      const struct top_cell *cell = &canvas->cells[row * canvas->width + column];
      if (cell->glyph && move(row, column) == OK)
        put_cell(screen, cell);
    }
  refresh();
}

/* ---- keys ---- */

static uint32_t translate(wint_t code) {
  static const struct {
    wint_t code;
    uint32_t key;
  } keys[] = {{KEY_UP, TOP_KEY_UP},         {KEY_DOWN, TOP_KEY_DOWN},
              {KEY_PPAGE, TOP_KEY_PAGE_UP}, {KEY_NPAGE, TOP_KEY_PAGE_DOWN},
              {KEY_HOME, TOP_KEY_HOME},     {KEY_END, TOP_KEY_END},
              {KEY_BTAB, TOP_KEY_BACK_TAB}, {KEY_BACKSPACE, TOP_KEY_BACKSPACE},
              {KEY_DC, TOP_KEY_DELETE},     {KEY_ENTER, TOP_KEY_ENTER}};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    if (keys[i].code == code)
      return keys[i].key;
  return TOP_KEY_NONE;
}

static bool has_gone(void) {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  return poll(&input, 1, 0) > 0 && (input.revents & (POLLHUP | POLLERR | POLLNVAL));
}

bool top_screen_key(struct top_screen *screen, int wait_ms, uint32_t *key) {
  wint_t code;
  (void)screen;
  *key = TOP_KEY_NONE;
  timeout(wait_ms);
  switch (get_wch(&code)) {
  case OK:
    if (code == REDRAW)
      top_screen_repaint();
    *key = code == '\n' ? TOP_KEY_ENTER : code == 0x7f || code == '\b' ? TOP_KEY_BACKSPACE : code;
    return true;
  case KEY_CODE_YES:
    *key = translate(code);
    return true;
  default:
    return !has_gone();
  }
}
