/*
 * view: what a person has chosen to see, and what a key does to that. It knows no terminal and asks
 * nobody; what is to be asked of the daemon it says (a deed, a wish).
 */
#ifndef CLI_TOP_VIEW_H
#define CLI_TOP_VIEW_H

#include "cli/top/canvas.h"
#include "cli/top/list.h"

#define TOP_ID 80
#define TOP_TEXT 256

/* Keys that are no characters lie behind the last of Unicode. */
enum top_key {
  TOP_KEY_ENTER = '\r',
  TOP_KEY_ESCAPE = 27,
  TOP_KEY_NONE = 0x110000,
  TOP_KEY_UP,
  TOP_KEY_DOWN,
  TOP_KEY_PAGE_UP,
  TOP_KEY_PAGE_DOWN,
  TOP_KEY_HOME,
  TOP_KEY_END,
  TOP_KEY_BACK_TAB,
  TOP_KEY_BACKSPACE,
  TOP_KEY_DELETE
};

enum top_mode { TOP_BROWSING, TOP_FILTERING, TOP_ASKING, TOP_HELPING };

/* What can be done to a row of a pane. */
struct top_deed {
  enum top_pane pane;
  uint32_t key;
  const char *verb, *done; /* "free", "freed" */
  const char *action, *id; /* the operation, and the field that names the row */
  const char *more;        /* other fields as JSON, each with a comma before it */
  bool forces;             /* the daemon may be told to do it in spite of protection */
};
/* Ends with one without a verb. */
extern const struct top_deed top_view_deeds[];

/* A pane's list, and where one is in it. */
struct top_place {
  struct top_list list;
  int sort; /* a column; -1: none */
  bool descending;
  size_t chosen, first, visible; /* the last two: as drawn */
  char id[TOP_ID];               /* of the chosen row */
};

struct top_view {
  enum top_mode mode;
  enum top_pane focus, shown; /* shown: where there is room for one list only, never TOP_DEVICES */
  struct top_place places[TOP_PANES];
  char filter[TOP_ID];
  const struct top_deed *deed; /* that is being asked about, and to which row: */
  char deed_id[TOP_ID], deed_about[TOP_TEXT];
  bool forced, doing;     /* doing: confirmed, and nothing heard of it yet */
  char message[TOP_TEXT]; /* of what was done, until the next key */
  enum top_style mood;
  bool ended;
};

void top_view_init(struct top_view *view);
void top_view_done(struct top_view *view);
/* Makes the lists anew; they borrow from the snapshot (may be NULL), until the next time. */
void top_view_refresh(struct top_view *view, const struct top_snapshot *snapshot);
/* True: the deed has been confirmed and is to be done. The lists are to be made anew after any key.
 */
bool top_view_key(struct top_view *view, const struct top_snapshot *snapshot, uint32_t key);
/* What became of the deed; error is a contract's code, "" when it was done. A protected row leads
 * to the question whether to force it. */
void top_view_tell(struct top_view *view, const char *error, const char *text);

#endif
