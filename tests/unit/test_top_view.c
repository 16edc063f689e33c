/*
 * What keys do, and what the screen then shows, without a terminal and without a daemon.
 */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/top/draw.h"

#define ALLOCATION(id, device, size, created, label)                                               \
  "{\"allocationId\":\"" id "\",\"deviceId\":\"" device "\",\"sizeBytes\":" size                   \
  ",\"purpose\":\"buffers\",\"status\":\"active\",\"owner\":{\"kind\":\"api\",\"pid\":null,"       \
  "\"name\":\"uid:0\"},\"createdAt\":\"" created "\",\"lastAccessedAt\":null,\"label\":" label "}"

static const char status[] =
    "{\"timestamp\":\"2026-11-27T12:00:00.000Z\",\"data\":{\"activeAllocations\":3,"
    "\"allocatedBytes\":7168,\"workers\":{\"total\":1,\"healthy\":1},\"devices\":["
    "{\"deviceId\":\"host:0\",\"totalBytes\":1000,\"usedBytes\":500,\"cachedBytes\":100,"
    "\"externalBytes\":200,\"reservedBytes\":300,\"availableBytes\":200,"
    "\"utilizationPercent\":50,\"health\":\"healthy\",\"pressure\":{\"level\":\"low\"}},"
    "{\"deviceId\":\"cuda:0\",\"totalBytes\":null,\"usedBytes\":null,\"health\":\"error\"}]}}";
static const char usage[] =
    "{\"data\":{\"devices\":[{\"deviceId\":\"host:0\",\"trend\":{\"timeToFullSeconds\":7200}}]}}";
static const char allocations[] = "{\"data\":{\"nextCursor\":null,\"allocations\":[" ALLOCATION(
    "a-1", "host:0", "1024", "2026-11-27T11:59:00.000Z",
    "\"beta\"") "," ALLOCATION("a-2", "host:0", "2048", "2026-11-27T11:00:00.000Z",
                               "\"\\u001b[31mred\"") "," ALLOCATION("a-3", "host:1", "4096",
                                                                    "2026-11-20T12:00:00.000Z",
                                                                    "null") "]}}";
static const char models[] =
    "{\"data\":{\"nextCursor\":null,\"models\":[{\"modelId\":\"m-1\",\"name\":\"llama\","
    "\"state\":\"ready\",\"residency\":\"device\",\"sizeBytes\":9}]}}";

static struct top_view view;
static struct top_canvas canvas;
static struct top_snapshot *snapshot;

static struct reader_doc *parse(const char *text) {
  struct reader_doc *doc;
  struct problem problem;
  assert_int_equal(reader_parse(text, strlen(text), &doc, &problem), STATUS_OK);
  return doc;
}

static int begin(void **state) {
  (void)state;
  top_view_init(&view);
  snapshot = calloc(1, sizeof *snapshot);
  assert_non_null(snapshot);
  snapshot->parts[TOP_STATUS] = parse(status);
  snapshot->parts[TOP_USAGE] = parse(usage);
  snapshot->parts[TOP_ALLOCATIONS] = parse(allocations);
  snapshot->parts[TOP_MODELS] = parse(models);
  top_view_refresh(&view, snapshot);
  return 0;
}

static int end(void **state) {
  (void)state;
  top_view_done(&view);
  top_canvas_done(&canvas);
  top_snapshot_free(snapshot);
  return 0;
}

static bool press(uint32_t key) {
  bool confirmed = top_view_key(&view, snapshot, key);
  top_view_refresh(&view, snapshot);
  return confirmed;
}

static void type(const char *text) {
  while (*text)
    press((unsigned char)*text++);
}

static void draw(int width, int height, const char *trouble) {
  const struct top_scene scene = {snapshot, trouble};
  top_canvas_begin(&canvas, width, height);
  top_draw(&canvas, &scene, &view);
}

/* Whether the text stands in some row. */
static bool shows(const char *text) {
  bool found = false;
  for (int row = 0; row < canvas.height; row++) {
    struct buf out BUF_CLEANUP;
    buf_init(&out, 1 << 16);
    top_canvas_read(&canvas, row, &out);
    found |= strstr(buf_text(&out), text) != NULL;
  }
  return found;
}

static const char *row_id(size_t index) { return view.places[TOP_BLOCKS].list.rows[index].id; }

static void test_largest_first_and_the_other_way_round(void **state) {
  (void)state;
  assert_string_equal(row_id(0), "a-3");
  press('r');
  assert_string_equal(row_id(0), "a-1");
  assert_non_null(strstr(view.message, "SIZE"));
}

static void test_every_order(void **state) {
  (void)state;
  bool by_age = false;
  for (int i = 0; i < 20; i++) {
    press('s');
    bool age =
        strcmp(top_columns[TOP_BLOCKS].columns[view.places[TOP_BLOCKS].sort].header, "AGE") == 0;
    assert_int_equal(view.places[TOP_BLOCKS].list.count, 3);
    if (age)
      assert_string_equal(row_id(0), "a-1"); /* the newest */
    by_age |= age;
  }
  assert_true(by_age);
}

static void test_a_filter(void **state) {
  (void)state;
  type("/BET");
  assert_int_equal(view.places[TOP_BLOCKS].list.count, 1);
  assert_string_equal(row_id(0), "a-1");
  draw(80, 24, "");
  assert_true(shows("Allocations 1 of 3"));
  type("\xc3\xa9"); /* as two keys it is no character; one backspace each */
  press(TOP_KEY_BACKSPACE);
  press(TOP_KEY_BACKSPACE);
  assert_string_equal(view.filter, "BET");
  press(0x65e5);
  assert_string_equal(view.filter, "BET日");
  press(TOP_KEY_BACKSPACE);
  assert_string_equal(view.filter, "BET");
  for (int i = 0; i < 500; i++)
    press('x');
  assert_true(strlen(view.filter) < sizeof view.filter);
  press(TOP_KEY_ESCAPE);
  assert_int_equal(view.places[TOP_BLOCKS].list.count, 3);
  assert_int_equal(view.mode, TOP_BROWSING);
}

static void test_the_chosen_row_stays_chosen(void **state) {
  (void)state;
  press(TOP_KEY_END);
  assert_string_equal(view.places[TOP_BLOCKS].id, "a-1");
  type("/beta\r");
  assert_string_equal(view.places[TOP_BLOCKS].id, "a-1");
  press(TOP_KEY_ESCAPE);
  assert_string_equal(view.places[TOP_BLOCKS].id, "a-1");
  assert_int_equal(view.places[TOP_BLOCKS].chosen, 2);
}

static void test_moving_stops_at_both_ends(void **state) {
  (void)state;
  static const uint32_t keys[] = {TOP_KEY_UP,   TOP_KEY_PAGE_UP,   TOP_KEY_HOME,
                                  TOP_KEY_DOWN, TOP_KEY_PAGE_DOWN, TOP_KEY_END};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    for (int n = 0; n < 5; n++) {
      press(keys[i]);
      assert_true(view.places[TOP_BLOCKS].chosen < 3);
    }
  assert_int_equal(view.places[TOP_BLOCKS].chosen, 2);
}

static void test_a_deed_wants_to_be_confirmed(void **state) {
  (void)state;
  assert_false(press('k'));
  assert_int_equal(view.mode, TOP_ASKING);
  draw(80, 24, "");
  assert_true(shows("Free a-3?"));
  assert_false(press('\r'));
  assert_int_equal(view.mode, TOP_BROWSING);
  press('k');
  assert_true(press('y'));
  assert_string_equal(view.deed_id, "a-3");
  assert_string_equal(view.deed->action, "memory.free");
  press('k'); /* not before the first is answered */
  assert_int_equal(view.mode, TOP_BROWSING);
  top_view_tell(&view, "", "");
  assert_string_equal(view.message, "a-3 is freed");
}

static void test_what_is_protected_is_asked_about_once_more(void **state) {
  (void)state;
  press('k');
  press('y');
  top_view_tell(&view, "CONFLICT", "it is pinned");
  assert_true(view.forced && view.mode == TOP_ASKING);
  draw(40, 10, "");
  assert_true(shows("by force?") && shows("it is pinned"));
  assert_true(press('y'));
  top_view_tell(&view, "CONFLICT", "it is still pinned");
  assert_int_equal(view.mode, TOP_BROWSING);
  assert_string_equal(view.message, "CONFLICT: it is still pinned");
}

static void test_what_cannot_be_done_is_not_asked_about_again(void **state) {
  (void)state;
  press('k');
  press('y');
  top_view_tell(&view, "ALLOCATION_NOT_FOUND", "no such allocation");
  assert_int_equal(view.mode, TOP_BROWSING);
}

static void test_models_are_unloaded_and_parked(void **state) {
  (void)state;
  press('3');
  press('p');
  assert_true(press('y'));
  assert_non_null(strstr(view.deed->more, "ram"));
  top_view_tell(&view, "", "");
  press('u');
  assert_true(press('y'));
  assert_string_equal(view.deed_id, "m-1");
}

static void test_nothing_happens_in_an_empty_list(void **state) {
  (void)state;
  static const uint32_t keys[] = {'k', 'y', 's', 'r', TOP_KEY_DOWN, TOP_KEY_END, TOP_KEY_PAGE_UP};
  press('4');
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    assert_false(press(keys[i]));
  draw(80, 24, "");
  assert_true(shows("none at the moment"));
}

static void test_panes_go_round(void **state) {
  (void)state;
  for (int i = 0; i < TOP_PANES; i++)
    press('\t');
  assert_int_equal(view.focus, TOP_BLOCKS);
  for (int i = 0; i < TOP_PANES; i++)
    press(TOP_KEY_BACK_TAB);
  assert_int_equal(view.focus, TOP_BLOCKS);
  press('1');
  assert_int_equal(view.focus, TOP_DEVICES);
  assert_int_equal(view.shown, TOP_BLOCKS);
}

static void test_a_screen_of_80_by_24(void **state) {
  (void)state;
  draw(80, 24, "");
  assert_true(shows("host:0"));
  assert_true(shows("███▓▓▒▒▒░░░░···")); /* 200, 100, 200, 300, 200 of 1000 */
  assert_true(shows("50 %"));
  assert_true(shows("2h"));
  assert_true(shows("does not answer"));
  assert_true(shows("?[31mred"));
  assert_true(shows("SIZE▼"));
}

static void test_ascii(void **state) {
  (void)state;
  canvas.ascii = true;
  draw(80, 24, "");
  canvas.ascii = false;
  for (int i = 0; i < canvas.width * canvas.height; i++)
    assert_true(canvas.cells[i].glyph < 0x7f);
  assert_true(shows("#") && shows("SIZEv"));
}

static void test_a_high_screen_shows_all_lists(void **state) {
  (void)state;
  draw(200, 60, "");
  assert_true(shows("a-1") && shows("llama") && shows("Transfers 0"));
}

static void test_trouble_is_said_and_what_was_known_stays(void **state) {
  (void)state;
  draw(80, 24, "no daemon listens on x");
  assert_true(shows("not reachable, retrying: no daemon listens on x"));
  assert_true(shows("a-1"));
}

static void test_every_size_and_mode(void **state) {
  (void)state;
  static const uint32_t modes[] = {TOP_KEY_NONE, 'k', '?', '/'};
  for (size_t mode = 0; mode < sizeof modes / sizeof *modes; mode++) {
    press(modes[mode]);
    for (int width = 0; width < 130; width += width < 20 ? 1 : 13)
      for (int height = 0; height < 60; height += height < 12 ? 1 : 7)
        draw(width, height, "");
    press(TOP_KEY_ESCAPE);
  }
}

static void test_before_the_first_answer(void **state) {
  (void)state;
  top_view_refresh(&view, NULL);
  const struct top_scene scene = {NULL, ""};
  top_canvas_begin(&canvas, 80, 24);
  top_draw(&canvas, &scene, &view);
  assert_true(shows("asking"));
  assert_false(top_view_key(&view, NULL, 'k'));
  top_view_refresh(&view, snapshot);
}

static void test_ages(void **state) {
  (void)state;
  static const struct {
    uint64_t seconds;
    const char *text;
  } ages[] = {{0, "0s"},    {99, "99s"},     {100, "1m"},    {5999, "99m"},
              {6000, "1h"}, {172799, "47h"}, {172800, "2d"}, {UINT64_MAX, ">9999d"}};
  char text[32];
  for (size_t i = 0; i < sizeof ages / sizeof *ages; i++)
    assert_string_equal(top_columns_age(ages[i].seconds, text, sizeof text), ages[i].text);
}

static void test_times(void **state) {
  (void)state;
  assert_true(top_snapshot_parse_time("1970-01-01T00:00:01.500Z") == UINT64_C(1500000000));
  static const char *const none[] = {"", "yesterday", "1970-01-01", "1969-12-31T00:00:00.000Z"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    assert_true(top_snapshot_parse_time(none[i]) == 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
  static const struct CMUnitTest tests[] = {
      T(test_largest_first_and_the_other_way_round),
      T(test_every_order),
      T(test_a_filter),
      T(test_the_chosen_row_stays_chosen),
      T(test_moving_stops_at_both_ends),
      T(test_a_deed_wants_to_be_confirmed),
      T(test_what_is_protected_is_asked_about_once_more),
      T(test_what_cannot_be_done_is_not_asked_about_again),
      T(test_models_are_unloaded_and_parked),
      T(test_nothing_happens_in_an_empty_list),
      T(test_panes_go_round),
      T(test_a_screen_of_80_by_24),
      T(test_ascii),
      T(test_a_high_screen_shows_all_lists),
      T(test_trouble_is_said_and_what_was_known_stays),
      T(test_every_size_and_mode),
      T(test_before_the_first_answer),
      T(test_ages),
      T(test_times),
  };
  setlocale(LC_CTYPE, "C.UTF-8");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
