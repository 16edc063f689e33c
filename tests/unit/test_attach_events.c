/* Each attachment that comes or goes is one event, whatever ends it. */
#include "service/attach.h"

#include "service_fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/spawn.h"
#include "service/events.h"

static const char *const devices[] = {"host:0=64MiB", "host:1=64MiB", NULL};

static struct caller ours = {
    .role = CALLER_WRITE, .domain_name = "uid:0", .correlation = "who-asked", .connection = 7};
static const struct caller nameless = {
    .role = CALLER_WRITE, .domain_name = "uid:0", .correlation = "who-asked", .connection = 8};

static int setup(void **state) {
  ours.pid = getpid();
  ours.pid_start = spawn_start_time(getpid());
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

/* ---- words ---- */

static void attach(void **state, const struct caller *caller, uint64_t id) {
  struct attach_made made;
  struct problem problem = {0};
  assert_int_equal(attach_begin(fixture_service(*state), caller,
                                &(struct attach_want){.allocation = id}, &made, &problem),
                   STATUS_OK);
  share_close(&made.share);
}

static void detach(void **state, const struct caller *caller, uint64_t id) {
  struct problem problem = {0};
  uint32_t left;
  assert_int_equal(attach_end(fixture_service(*state), caller, id, &left, &problem), STATUS_OK);
}

static uint64_t now(void **state) { return events_last(service_events(fixture_service(*state))); }

/* The next event after *at of one of the two types. */
static bool next(void **state, uint64_t *at, struct events_record *event) {
  uint64_t lost;
  while (events_next(service_events(fixture_service(*state)), *at, event, &lost)) {
    *at = event->id;
    if (event->type == EVENTS_ALLOCATION_ATTACHED || event->type == EVENTS_ALLOCATION_DETACHED)
      return true;
  }
  return false;
}

/* ---- tests ---- */

static void one_act_is_one_event(void **state) {
  struct view_alloc made = fixture_make(*state, "host:1", 4096);
  uint64_t at = now(state);
  struct events_record event;
  attach(state, &ours, made.id);
  detach(state, &ours, made.id);
  static const enum events_type types[] = {EVENTS_ALLOCATION_ATTACHED, EVENTS_ALLOCATION_DETACHED};
  for (int i = 0; i < 2; i++) {
    assert_true(next(state, &at, &event));
    assert_int_equal(event.type, types[i]);
    assert_int_equal(event.subject, made.id);
    assert_int_equal(event.bytes, 4096);
    assert_int_equal(event.device, 2);
    assert_int_equal(event.other, getpid());
    assert_string_equal(event.text, "who-asked");
  }
  assert_false(next(state, &at, &event));
}

static void the_history_has_both(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 4096).id;
  attach(state, &ours, id);
  detach(state, &ours, id);
  attach(state, &nameless, id);
  struct alloc_looked looked;
  struct problem problem;
  assert_int_equal(alloc_look(fixture_service(*state), id, &looked, &problem), STATUS_OK);
  static const char *const words[] = {"created", "attached", "detached", "attached"};
  assert_int_equal(looked.history_count, 4);
  for (int i = 0; i < 4; i++)
    assert_string_equal(looked.history[i].event, words[i]);
  char known[64];
  snprintf(known, sizeof known, "4.0 KiB on host:0, process %d", (int)getpid());
  assert_string_equal(looked.history[1].detail, known);
  assert_string_equal(looked.history[2].detail, known);
  assert_string_equal(looked.history[3].detail, "4.0 KiB on host:0");
}

static void the_end_of_a_connection_is_one_for_each(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 4096).id, at = now(state);
  struct events_record event;
  for (int i = 0; i < 300; i++)
    attach(state, &ours, id);
  for (int i = 0; i < 300; i++)
    assert_true(next(state, &at, &event));
  attach_connection_closed(fixture_service(*state), ours.connection);
  for (int i = 0; i < 300; i++) {
    assert_true(next(state, &at, &event));
    assert_int_equal(event.type, EVENTS_ALLOCATION_DETACHED);
    assert_int_equal(event.other, getpid());
    assert_string_equal(event.text, "");
  }
  assert_false(next(state, &at, &event));
}

static void one_who_frees_what_he_has_attached_lets_go_first(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 4096).id, at = now(state);
  struct events_record event;
  struct problem problem = {0};
  struct alloc_freed freed;
  attach(state, &ours, id);
  assert_true(next(state, &at, &event));
  assert_int_not_equal(alloc_free(fixture_service(*state), &ours, &(struct alloc_victim){id, false},
                                  &freed, &problem),
                       STATUS_ALLOCATION_BUSY);
  assert_true(next(state, &at, &event));
  assert_int_equal(event.type, EVENTS_ALLOCATION_DETACHED);
  assert_string_equal(event.text, "who-asked");
}

/* Its size and purpose went with it; where it was is known. */
static void of_what_was_freed_by_force_the_end_is_told_too(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 4096).id, at = now(state);
  struct events_record event;
  attach(state, &ours, id);
  assert_true(next(state, &at, &event));
  assert_int_equal(fixture_free(*state, id, true), STATUS_OK);
  assert_false(next(state, &at, &event));
  detach(state, &ours, id);
  assert_true(next(state, &at, &event));
  assert_int_equal(event.type, EVENTS_ALLOCATION_DETACHED);
  assert_int_equal(event.subject, id);
  assert_int_equal(event.bytes, 0);
  assert_int_equal(event.device, 1);
  assert_int_equal(event.other, getpid());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(one_act_is_one_event),
      TEST(the_history_has_both),
      TEST(the_end_of_a_connection_is_one_for_each),
      TEST(one_who_frees_what_he_has_attached_lets_go_first),
      TEST(of_what_was_freed_by_force_the_end_is_told_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
