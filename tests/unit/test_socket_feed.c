/*
 * Events on connections that asked for them, before the fake ops of socket_ops.h.
 */
#include "socket_ops.h"

#define FOLLOW "{\"request_id\":\"f\",\"action\":\"follow\"}\n"

static void follow(struct door *door) {
  ask(door, FOLLOW);
  hear(door, "follow \"f\"");
}

static void events_follow_the_answer(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  happen(&door.ops, 1);
  follow(&door);
  happen(&door.ops, 2);
  hear(&door, "{\"event\":\"allocation.created\",\"id\":2,\"data\":2}");
  happen(&door.ops, 0); /* not wanted */
  happen(&door.ops, 4);
  hear(&door, "{\"event\":\"allocation.created\",\"id\":4,\"data\":4}");
  ask(&door, "{\"request_id\":\"a\",\"action\":\"now\"}\n");
  hear(&door, "now \"a\"");
  hang_up(&door);
  close_door(&door);
}

static void one_who_returns_hears_what_it_missed(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  for (uint64_t subject = 1; subject <= 3; subject++)
    happen(&door.ops, subject);
  door.ops.after = 1;
  follow(&door);
  hear(&door, "{\"event\":\"allocation.created\",\"id\":2,\"data\":2}");
  hear(&door, "{\"event\":\"allocation.created\",\"id\":3,\"data\":3}");
  hang_up(&door);
  close_door(&door);
}

static void one_who_comes_from_an_earlier_daemon_is_told_so(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  happen(&door.ops, 1);
  door.ops.after = 100;
  follow(&door);
  hear(&door, "{\"event\":\"events.lost\",\"id\":0,\"data\":0}");
  hear(&door, "{\"event\":\"allocation.created\",\"id\":1,\"data\":1}");
  hang_up(&door);
  close_door(&door);
}

static void who_asks_again_hears_each_event_once(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  follow(&door);
  follow(&door);
  happen(&door.ops, 7);
  hear(&door, "{\"event\":\"allocation.created\",\"id\":1,\"data\":7}");
  ask(&door, "{\"action\":\"now\"}\n");
  hear(&door, "now null");
  hang_up(&door);
  close_door(&door);
}

static void who_sends_no_more_still_hears(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  follow(&door);
  send_no_more(&door);
  happen(&door.ops, 5);
  hear(&door, "{\"event\":\"allocation.created\",\"id\":1,\"data\":5}");
  hang_up(&door);
  close_door(&door);
}

/* What is sent to nobody fills the kernel's buffer and one piece, then the ring runs over it. */
static void who_does_not_read_is_dropped_and_holds_up_nobody(void **state) {
  (void)state;
  struct door door;
  char line[128];
  uint64_t last = 0, id;
  open_door(&door);
  follow(&door);
  for (uint64_t i = 1; i <= 4 * EVENTS_KEPT; i++) {
    happen(&door.ops, i);
    if (i % (EVENTS_KEPT / 4) == 0)
      pass_a_turn(&door);
  }
  errno = 0;
  while (fgets(line, sizeof line, door.in)) {
    assert_int_equal(sscanf(line, "{\"event\":\"allocation.created\",\"id\":%lu", &id), 1);
    assert_int_equal(id, ++last);
  }
  assert_true(feof(door.in) || errno == ECONNRESET);
  assert_true(last && last < 4 * EVENTS_KEPT);
  hang_up(&door);
  close_door(&door);
}

static void a_backlog_is_heard_in_order_by_who_reads(void **state) {
  (void)state;
  struct door door;
  char line[128];
  uint64_t id;
  open_door(&door);
  for (uint64_t i = 1; i <= EVENTS_KEPT; i++)
    happen(&door.ops, i);
  door.ops.after = 1;
  follow(&door);
  for (uint64_t i = 2; i <= EVENTS_KEPT; i++) {
    assert_non_null(fgets(line, sizeof line, door.in));
    assert_int_equal(sscanf(line, "{\"event\":\"allocation.created\",\"id\":%lu", &id), 1);
    assert_int_equal(id, i);
  }
  hang_up(&door);
  close_door(&door);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(events_follow_the_answer),
      cmocka_unit_test(one_who_returns_hears_what_it_missed),
      cmocka_unit_test(one_who_comes_from_an_earlier_daemon_is_told_so),
      cmocka_unit_test(who_asks_again_hears_each_event_once),
      cmocka_unit_test(who_sends_no_more_still_hears),
      cmocka_unit_test(who_does_not_read_is_dropped_and_holds_up_nobody),
      cmocka_unit_test(a_backlog_is_heard_in_order_by_who_reads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
