/*
 * view: a mode has a function for its keys. The chosen row is known by its id, so that it stays the
 * chosen one when rows come and go; when it has gone, its neighbour is. What is asked about is
 * copied: it does not change under the eyes of who answers.
 */
#include "cli/top/view.h"

#include <stdio.h>
#include <string.h>

const struct top_deed top_view_deeds[] = {
    {TOP_BLOCKS, 'k', "free", "freed", "memory.free", "allocationId", "", true},
    {TOP_BLOCKS, TOP_KEY_DELETE, "free", "freed", "memory.free", "allocationId", "", true},
    {TOP_WEIGHTS, 'u', "unload", "being unloaded", "memory.unload_model", "modelId",
     ",\"wait\":false", true},
    {TOP_WEIGHTS, 'p', "park", "being parked", "memory.unload_model", "modelId",
     ",\"to\":\"ram\",\"wait\":false", true},
    {TOP_MOVES, 'k', "cancel", "cancelled", "memory.cancel_transfer", "transferId", "", false},
    {.verb = NULL}};

void top_view_init(struct top_view *view) {
  *view = (struct top_view){.focus = TOP_BLOCKS, .shown = TOP_BLOCKS};
  for (int i = 0; i < TOP_PANES; i++) {
    const struct top_columns *columns = &top_columns[i];
    struct top_place *place = &view->places[i];
    place->sort = columns->sort;
    place->descending = place->sort >= 0 && columns->columns[place->sort].kind != TOP_AGE;
    place->visible = 1;
    place->list.whole = true;
  }
}

void top_view_done(struct top_view *view) {
  for (int i = 0; i < TOP_PANES; i++)
    top_list_done(&view->places[i].list);
}

/* ---- rows ---- */

static void choose(struct top_place *place, size_t index) {
  size_t last = place->list.count ? place->list.count - 1 : 0;
  place->chosen = index < last ? index : last;
  snprintf(place->id, sizeof place->id, "%s",
           place->list.count ? place->list.rows[place->chosen].id : "");
}

void top_view_refresh(struct top_view *view, const struct top_snapshot *snapshot) {
  for (int i = 0; i < TOP_PANES; i++) {
    struct top_place *place = &view->places[i];
    const struct top_order order = {.pane = (enum top_pane)i,
                                    .column = place->sort,
                                    .descending = place->descending,
                                    .filter = i == TOP_DEVICES ? "" : view->filter};
    top_list_make(&place->list, snapshot, &order);
    size_t found = top_list_find(&place->list, place->id);
    choose(place, found < place->list.count ? found : place->chosen);
  }
}

static void move(struct top_place *place, uint32_t key) {
  size_t page = place->visible ? place->visible : 1, at = place->chosen;
  switch (key) {
  case TOP_KEY_UP:
    at -= at ? 1 : 0;
    break;
  case TOP_KEY_DOWN:
    at++;
    break;
  case TOP_KEY_PAGE_UP:
    at = at > page ? at - page : 0;
    break;
  case TOP_KEY_PAGE_DOWN:
    at += page;
    break;
  case TOP_KEY_HOME:
    at = 0;
    break;
  default:
    at = place->list.count;
    break;
  }
  choose(place, at);
}

/* ---- order ---- */

/* Another order: seen from its beginning, and said, for its column may have no room. */
static void begin_anew(struct top_view *view) {
  struct top_place *place = &view->places[view->focus];
  place->id[0] = '\0';
  place->chosen = place->first = 0;
  if (place->sort >= 0)
    snprintf(view->message, sizeof view->message, "in order of %s, %s",
             top_columns[view->focus].columns[place->sort].header,
             place->descending ? "largest first" : "smallest first");
  view->mood = TOP_DIM;
}

/* The next column that rows can be in order of; numbers largest first, what is new before what is
 * old. */
static void sort_next(struct top_view *view) {
  struct top_place *place = &view->places[view->focus];
  const struct top_column *columns = top_columns[view->focus].columns;
  int column = place->sort;
  do
    column = columns[column + 1].header ? column + 1 : 0;
  while (!columns[column].sorts);
  place->sort = column;
  place->descending = columns[column].right && columns[column].kind != TOP_AGE;
  begin_anew(view);
}

static void reverse(struct top_view *view) {
  struct top_place *place = &view->places[view->focus];
  place->descending = !place->descending;
  begin_anew(view);
}

/* ---- deeds ---- */

static void describe(const struct top_snapshot *snapshot, enum top_pane pane,
                     struct reader_value row, char out[TOP_TEXT]) {
  const struct top_column *column = top_columns[pane].columns;
  char text[TOP_CELL];
  size_t n = 0;
  out[0] = '\0';
  for (; column->header; column++) {
    bool worth =
        column->kind == TOP_MEMBER && column->rank < 7 && strcmp(column->member, "status") != 0;
    if (!worth || strcmp(column->member, top_columns[pane].id) == 0)
      continue;
    top_columns_text(snapshot, column, row, text, sizeof text);
    if (n < TOP_TEXT && strcmp(text, "-") != 0)
      n += (size_t)snprintf(out + n, TOP_TEXT - n, "%s%s", n ? ", " : "", text);
  }
}

static void ask(struct top_view *view, const struct top_snapshot *snapshot,
                const struct top_deed *deed) {
  const struct top_place *place = &view->places[deed->pane];
  if (view->doing) {
    snprintf(view->message, sizeof view->message, "one thing after another: %s", view->deed_id);
    view->mood = TOP_WARNING;
  }
  if (view->doing || !place->list.count)
    return;
  const struct top_row *row = &place->list.rows[place->chosen];
  view->deed = deed;
  view->forced = false;
  snprintf(view->deed_id, sizeof view->deed_id, "%s", row->id);
  describe(snapshot, deed->pane, row->value, view->deed_about);
  view->mode = TOP_ASKING;
}

void top_view_tell(struct top_view *view, const char *error, const char *text) {
  static const char *const protects[] = {"ALLOCATION_BUSY", "CONFLICT", "MODEL_BUSY"};
  bool protected_row = false;
  view->doing = false;
  for (size_t i = 0; i < sizeof protects / sizeof *protects; i++)
    protected_row |= strcmp(error, protects[i]) == 0;
  if (!*error)
    snprintf(view->message, sizeof view->message, "%s is %s", view->deed_id, view->deed->done);
  else
    snprintf(view->message, sizeof view->message, "%s: %s", error, text);
  view->mood = *error ? TOP_BAD : TOP_GOOD;
  if (!protected_row || view->forced || !view->deed->forces || view->mode != TOP_BROWSING)
    return;
  snprintf(view->deed_about, sizeof view->deed_about, "%s", text);
  view->forced = true;
  view->mode = TOP_ASKING;
}

/* ---- keys ---- */

static void focus_on(struct top_view *view, int pane) {
  view->focus = (enum top_pane)((pane + TOP_PANES) % TOP_PANES);
  if (view->focus != TOP_DEVICES)
    view->shown = view->focus;
}

static void next_pane(struct top_view *view) { focus_on(view, (int)view->focus + 1); }
static void last_pane(struct top_view *view) { focus_on(view, (int)view->focus - 1); }
static void help(struct top_view *view) { view->mode = TOP_HELPING; }
static void begin_filter(struct top_view *view) { view->mode = TOP_FILTERING; }
static void end_filter(struct top_view *view) { view->filter[0] = '\0'; }
static void quit(struct top_view *view) { view->ended = true; }

static void browse(struct top_view *view, const struct top_snapshot *snapshot, uint32_t key) {
  static const struct {
    uint32_t key;
    void (*act)(struct top_view *view);
  } acts[] = {{'q', quit},         {'Q', quit},
              {'?', help},         {'h', help},
              {'/', begin_filter}, {TOP_KEY_ESCAPE, end_filter},
              {'s', sort_next},    {'r', reverse},
              {'\t', next_pane},   {TOP_KEY_BACK_TAB, last_pane}};
  for (const struct top_deed *deed = top_view_deeds; deed->verb; deed++)
    if (deed->pane == view->focus && deed->key == key)
      ask(view, snapshot, deed);
  for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
    if (acts[i].key == key)
      acts[i].act(view);
  if (key >= '1' && key < '1' + TOP_PANES)
    focus_on(view, (int)(key - '1'));
  if (key >= TOP_KEY_UP && key <= TOP_KEY_END)
    move(&view->places[view->focus], key);
}

static void filter(struct top_view *view, uint32_t key) {
  size_t n = strlen(view->filter);
  if (key == TOP_KEY_ENTER || key == TOP_KEY_ESCAPE)
    view->mode = TOP_BROWSING;
  if (key == TOP_KEY_ESCAPE)
    view->filter[0] = '\0';
  if (key == TOP_KEY_BACKSPACE && n) {
    while (--n && (view->filter[n] & 0xc0) == 0x80)
      ;
    view->filter[n] = '\0';
  }
  if (key >= ' ' && key < TOP_KEY_NONE && n + 5 < sizeof view->filter)
    view->filter[n + top_canvas_encode(key, view->filter + n)] = '\0';
}

bool top_view_key(struct top_view *view, const struct top_snapshot *snapshot, uint32_t key) {
  view->message[0] = '\0';
  switch (view->mode) {
  case TOP_ASKING:
    view->mode = TOP_BROWSING;
    view->doing = key == 'y' || key == 'Y';
    return view->doing;
  case TOP_FILTERING:
    filter(view, key);
    return false;
  case TOP_HELPING:
    view->mode = TOP_BROWSING;
    return false;
  default:
    browse(view, snapshot, key);
    return false;
  }
}
