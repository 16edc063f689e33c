/* Look, list and map: each thing once, with what happened to it. */
#include "service_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const devices[] = {"host:0=64MiB", "fake:0=128MiB", NULL};

static int setup(void **state) {
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static void pages_of_a_list_hold_each_once(void **state) {
  struct service *s = fixture_service(*state);
  for (unsigned i = 0; i < 25; i++)
    fixture_make(*state, i % 2 ? "host:0" : "fake:0", 256 + i);
  for (unsigned how = 0; how < 8; how++) {
    struct alloc_filter filter = {
        .purpose = -1, .sort = (int)(how % 3), .ascending = how % 2, .limit = 7};
    if (how >= 6)
      snprintf(filter.device, sizeof filter.device, "%s", "host:0");
    uint64_t expected = how >= 6 ? 12 : 25, seen = 0, last = 0;
    do {
      struct alloc_page page;
      struct problem problem;
      assert_int_equal(alloc_list(s, &filter, &page, &problem), STATUS_OK);
      assert_true(page.totals_known);
      assert_int_equal(page.total_allocations, expected);
      for (uint32_t i = 0; i < page.count; i++) {
        uint64_t key = filter.sort == ALLOC_BY_SIZE     ? page.allocations[i].size_bytes
                       : filter.sort == ALLOC_BY_ACCESS ? page.allocations[i].last_accessed_at
                                                        : page.allocations[i].id;
        assert_true(!seen || (filter.ascending ? key >= last : key <= last));
        last = key;
        seen++;
      }
      snprintf(filter.cursor, sizeof filter.cursor, "%s", page.next_cursor);
      free(page.allocations);
    } while (filter.cursor[0]);
    assert_int_equal(seen, expected);
  }
}

static void a_cursor_that_is_none_is_refused(void **state) {
  static const char *const none[] = {"rubbish", "1-2", "0123456789abcdef", "0123456789abcdef-",
                                     "0123456789abcdef-0123456789abcdefg"};
  for (unsigned i = 0; i < sizeof none / sizeof *none; i++) {
    struct alloc_filter filter = {.purpose = -1, .limit = 1};
    struct alloc_page page;
    struct problem problem;
    snprintf(filter.cursor, sizeof filter.cursor, "%s", none[i]);
    assert_int_equal(alloc_list(fixture_service(*state), &filter, &page, &problem),
                     STATUS_INVALID_ARGUMENT);
    assert_string_equal(problem.field, "cursor");
  }
}

static void history_is_told_with_who_asked(void **state) {
  struct service *s = fixture_service(*state);
  struct view_alloc made = fixture_make(*state, "host:0", 4096);
  struct alloc_looked looked;
  struct problem problem;
  assert_int_equal(alloc_look(s, made.id, &looked, &problem), STATUS_OK);
  assert_int_equal(looked.history_count, 1);
  assert_string_equal(looked.history[0].event, "created");
  uint64_t before = events_last(service_events(s)), lost;
  assert_int_equal(fixture_free(*state, made.id, false), STATUS_OK);
  struct events_record event;
  assert_true(events_next(service_events(s), before, &event, &lost));
  assert_int_equal(event.type, EVENTS_ALLOCATION_FREED);
  assert_int_equal(event.subject, made.id);
  assert_string_equal(event.text, "test");
}

static void the_map_shows_every_block(void **state) {
  for (unsigned i = 0; i < 40; i++)
    fixture_make(*state, "host:0", 60 * KIB + i);
  fixture_make(*state, "host:0", 4 * MIB);
  struct report_map_params params = {.device = "host:0", .limit = 1};
  uint64_t blocks = 0, bytes = 0;
  do {
    struct report_map map;
    struct problem problem;
    assert_int_equal(report_map_make(fixture_service(*state), &params, &map, &problem), STATUS_OK);
    for (uint32_t i = 0; i < map.count; i++)
      for (uint32_t k = 0; k < map.segments[i].block_count; k++) {
        blocks++;
        bytes += map.segments[i].blocks[k].size_bytes;
      }
    params.cursor = map.next;
    report_map_free(&map);
  } while (params.cursor);
  assert_int_equal(blocks, 41);
  assert_int_equal(bytes, fixture_figures(*state, "host:0").allocated_bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(pages_of_a_list_hold_each_once),
      TEST(a_cursor_that_is_none_is_refused),
      TEST(history_is_told_with_who_asked),
      TEST(the_map_shows_every_block),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
