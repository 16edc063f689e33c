/*
 * screen: the terminal. The only file that includes ncurses. One thread.
 */
#ifndef CLI_TOP_SCREEN_H
#define CLI_TOP_SCREEN_H

#include "base/problem.h"
#include "cli/top/canvas.h"

struct top_screen;

/* Takes the terminal of stdin and stdout. INVALID_ARGUMENT: there is none, or none that can be
 * drawn on. */
enum status top_screen_open(struct top_screen **out, struct problem *problem);
/* The terminal is as it was. NULL is fine. */
void top_screen_close(struct top_screen *screen);
/* The same until the next call of draw. */
void top_screen_leave(struct top_screen *screen);
/* All of it is sent by the next draw: a terminal that was smaller meanwhile has lost what it had.
 */
void top_screen_repaint(void);
/* An empty canvas of the size that the terminal has now. */
bool top_screen_begin(struct top_screen *screen, struct top_canvas *canvas);
void top_screen_draw(struct top_screen *screen, const struct top_canvas *canvas);
/* The next key: a character, or one of enum top_key; TOP_KEY_NONE: none in that time. False: the
 * terminal has gone. */
bool top_screen_key(struct top_screen *screen, int wait_ms, uint32_t *key);

#endif
