/*
 * talk: before a carrier that is this test, under a clock that is this test's. How our own
 * processes fare is in test_workers; here are guests, and silence.
 */
#include "daemon/talk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

static time_t later; /* seconds by which the clock is ahead */

/* In place of libc's. */
int clock_gettime(clockid_t clock, struct timespec *out) {
  int result = (int)syscall(SYS_clock_gettime, clock, out);
  out->tv_sec += later;
  return result;
}

struct fixture {
  struct talk *talk;
  char said[4096]; /* to it */
  unsigned ends, kills, releases, changes, done, unheard;
  struct wire_initialize initialize;
  struct mover_task task;
};

static bool carry(void *ctx, const char *text, size_t n) {
  struct fixture *fixture = ctx;
  size_t used = strlen(fixture->said);
  snprintf(fixture->said + used, sizeof fixture->said - used, "%.*s\n", (int)n, text);
  return true;
}

static int32_t pid(void *ctx) {
  (void)ctx;
  return 77;
}

static void end(void *ctx) { ((struct fixture *)ctx)->ends++; }
static void finish_off(void *ctx) { ((struct fixture *)ctx)->kills++; }
static void release(void *ctx) { ((struct fixture *)ctx)->releases++; }

static const struct talk_carrier carrier = {
    .send = carry, .pid = pid, .close = end, .end = end, .kill = finish_off, .release = release};

static void changed(void *arg) { ((struct fixture *)arg)->changes++; }

static void ended(void *arg, const char *how) {
  struct fixture *fixture = arg;
  assert_string_equal(how, "left");
  talk_free(fixture->talk);
  fixture->talk = NULL;
}

static void unheard(void *arg, struct mover_task *task) {
  (void)task;
  ((struct fixture *)arg)->unheard++;
}

static struct fixture *current;

static void task_done(struct mover_task *task) {
  (void)task;
  current->done++;
}

static void begin(struct fixture *fixture, bool guest) {
  const struct talk_params params = {.name = "one",
                                     .initialize = &fixture->initialize,
                                     .guest = guest,
                                     .changed = changed,
                                     .ended = ended,
                                     .unheard = unheard,
                                     .arg = fixture};
  fixture->initialize.numbers.levels = (struct pressure_thresholds)PRESSURE_DEFAULTS;
  assert_int_equal(talk_create(&params, &fixture->talk), STATUS_OK);
  talk_carry(fixture->talk, &carrier, fixture);
}

static void say(struct fixture *fixture, const char *line) {
  char text[512];
  snprintf(text, sizeof text, "%s", line);
  talk_line(fixture->talk, text, strlen(text));
}

static void hello(struct fixture *fixture, const char *capabilities) {
  char line[512];
  snprintf(line, sizeof line,
           "{\"event\":\"hello\",\"data\":{\"protocol\":1,\"capabilities\":[%s]}}", capabilities);
  say(fixture, line);
  assert_true(talk_ready(fixture->talk));
}

/* The answer to the first request with that action. */
static void answer(struct fixture *fixture, const char *action, const char *data) {
  char wanted[64], line[512];
  snprintf(wanted, sizeof wanted, "\"action\":\"%s\"", action);
  const char *at = strstr(fixture->said, wanted);
  assert_non_null(at);
  while (strncmp(at, "\"request_id\"", 12) != 0)
    at--;
  at += strlen("\"request_id\":\"");
  snprintf(line, sizeof line, "{\"request_id\":\"%.*s\",\"success\":true,\"data\":%s}",
           (int)strcspn(at, "\""), at, data);
  say(fixture, line);
}

static void submit(struct fixture *fixture) {
  fixture->task = (struct mover_task){.action = MOVER_CLEAR, .done = task_done};
  assert_true(talk_submit(fixture->talk, &fixture->task));
}

static void pass(struct fixture *fixture, unsigned seconds) {
  for (unsigned i = 0; i < seconds; i++) {
    later++;
    talk_tick(fixture->talk);
  }
}

static void assert_over(const struct fixture *fixture, enum status status) {
  assert_int_equal(fixture->done, 1);
  assert_int_equal(fixture->task.problem.status, status);
}

static int setup(void **state) {
  log_set_level((enum log_level) - 1);
  current = calloc(1, sizeof *current);
  *state = current;
  return current ? 0 : -1;
}

static int teardown(void **state) {
  talk_free(((struct fixture *)*state)->talk);
  free(*state);
  return 0;
}

static unsigned count_of(const char *text, const char *word) {
  unsigned count = 0;
  for (; (text = strstr(text, word)); text++)
    count++;
  return count;
}

/* A job may have several under way. */
static void all_tasks_of_a_subject_are_cancelled(void **state) {
  struct fixture *fixture = *state;
  struct mover_task tasks[3] = {0};
  begin(fixture, true);
  hello(fixture, "");
  for (unsigned i = 0; i < 3; i++) {
    tasks[i] =
        (struct mover_task){.action = MOVER_CLEAR, .subject = i == 1 ? 8 : 9, .done = task_done};
    assert_true(talk_submit(fixture->talk, &tasks[i]));
  }
  assert_false(talk_cancel(fixture->talk, 7));
  assert_true(talk_cancel(fixture->talk, 9));
  assert_int_equal(count_of(fixture->said, "\"action\":\"cancel\""), 2);
  assert_true(tasks[0].cancelled && !tasks[1].cancelled && tasks[2].cancelled);
  talk_free(fixture->talk);
  fixture->talk = NULL;
}

/* ---- guests ---- */

static void a_guest_is_asked_what_it_can_and_told_the_thresholds(void **state) {
  struct fixture *fixture = *state;
  begin(fixture, true);
  hello(fixture, "\"memory.get_status\"");
  assert_null(strstr(fixture->said, "memory.initialize"));
  assert_non_null(strstr(fixture->said, "\"event\":\"memory.thresholds\""));
  answer(fixture, "memory.get_status", "{\"memory_usage_bytes\":9,\"reclaimable_bytes\":8}");
  assert_int_equal(talk_standing(fixture->talk)->memory_bytes, 9);
  assert_int_equal(talk_standing(fixture->talk)->reclaimable_bytes, 8);
}

static void a_guest_that_can_little_is_asked_little(void **state) {
  struct fixture *fixture = *state;
  begin(fixture, true);
  hello(fixture, "");
  assert_null(strstr(fixture->said, "action"));
  say(fixture, "{\"event\":\"memory.changed\",\"data\":{}}");
  assert_null(strstr(fixture->said, "action"));
}

static void one_of_ours_is_initialized_whatever_it_says(void **state) {
  struct fixture *fixture = *state;
  begin(fixture, false);
  hello(fixture, "");
  assert_non_null(strstr(fixture->said, "memory.initialize"));
  assert_non_null(strstr(fixture->said, "memory.get_status"));
}

static void without_descriptors_no_segment_is_touched(void **state) {
  struct fixture *fixture = *state;
  struct mover_segment segment = {.id = 1, .size = 64, .device_id = "host:0"};
  struct mover_move move = {.size = 64};
  begin(fixture, true);
  hello(fixture, "\"memory.fill\"");
  fixture->task = (struct mover_task){.action = MOVER_FILL,
                                      .segments = &segment,
                                      .segment_count = 1,
                                      .moves = &move,
                                      .move_count = 1,
                                      .done = task_done};
  fixture->said[0] = '\0';
  assert_false(talk_submit(fixture->talk, &fixture->task));
  assert_string_equal(fixture->said, "");
}

static void a_silent_guest_is_given_up_and_left_alone(void **state) {
  struct fixture *fixture = *state;
  begin(fixture, true);
  hello(fixture, "\"memory.clear\"");
  submit(fixture);
  assert_true(talk_busy(fixture->talk));
  pass(fixture, 29);
  assert_int_equal(fixture->done, 0);
  pass(fixture, 10);
  assert_over(fixture, STATUS_WORKER_TIMEOUT);
  assert_non_null(strstr(fixture->said, "\"action\":\"cancel\""));
  assert_false(talk_ready(fixture->talk));
  assert_false(talk_busy(fixture->talk));
  assert_false(talk_submit(fixture->talk, &fixture->task));
  pass(fixture, 120);
  assert_int_equal(fixture->ends + fixture->kills, 0);
}

static void one_that_is_heard_of_again_is_ready(void **state) {
  struct fixture *fixture = *state;
  begin(fixture, true);
  hello(fixture, "\"memory.clear\"");
  submit(fixture);
  pass(fixture, 40);
  assert_false(talk_ready(fixture->talk));
  unsigned changes = fixture->changes;
  answer(fixture, "memory.clear", "{\"cleared_bytes\":5}");
  assert_true(talk_ready(fixture->talk));
  assert_true(fixture->changes > changes);
  assert_over(fixture, STATUS_WORKER_TIMEOUT);
}

static void a_guest_that_answers_no_ping_is_given_up(void **state) {
  struct fixture *fixture = *state;
  begin(fixture, true);
  hello(fixture, "");
  pass(fixture, 25);
  assert_non_null(strstr(fixture->said, "\"action\":\"ping\""));
  assert_true(talk_ready(fixture->talk));
  pass(fixture, 15);
  assert_false(talk_ready(fixture->talk));
}

static void one_that_leaves_fails_what_it_had_begun(void **state) {
  struct fixture *fixture = *state;
  begin(fixture, true);
  hello(fixture, "\"memory.clear\"");
  submit(fixture);
  say(fixture, "{\"request_id\":\"r-1\",\"event\":\"progress\",\"data\":{}}");
  talk_gone(fixture->talk, "left");
  assert_null(fixture->talk);
  assert_over(fixture, STATUS_WORKER_UNAVAILABLE);
  assert_int_equal(fixture->releases, 1);
  assert_int_equal(fixture->kills, 0);
}

static void what_it_had_not_begun_is_given_back(void **state) {
  struct fixture *fixture = *state;
  begin(fixture, true);
  hello(fixture, "\"memory.clear\"");
  submit(fixture);
  talk_gone(fixture->talk, "left");
  assert_int_equal(fixture->unheard, 1);
  assert_int_equal(fixture->done, 0);
}

/* ---- ours ---- */

static void a_silent_one_of_ours_is_ended_and_then_killed(void **state) {
  struct fixture *fixture = *state;
  begin(fixture, false);
  hello(fixture, "\"memory.clear\"");
  answer(fixture, "memory.initialize", "{}");
  answer(fixture, "memory.get_status", "{}");
  submit(fixture);
  pass(fixture, 31);
  assert_int_equal(fixture->ends, 0);
  pass(fixture, 2);
  assert_int_equal(fixture->ends, 1);
  assert_false(talk_ready(fixture->talk));
  assert_int_equal(fixture->kills, 0);
  pass(fixture, 3);
  assert_true(fixture->kills);
  pass(fixture, 5);
  assert_over(fixture, STATUS_WORKER_TIMEOUT);
}

/* Ten lines that nobody can read end it; its own complaints of such lines do not. */
static void a_complaint_is_no_bad_line(void **state) {
  struct fixture *fixture = *state;
  begin(fixture, false);
  hello(fixture, "");
  for (unsigned i = 0; i < 20; i++)
    say(fixture, "{\"request_id\":null,\"success\":false,\"error_code\":\"INVALID_JSON\","
                 "\"error\":\"line 5 is not a JSON object\"}");
  assert_int_equal(fixture->ends, 0);
  for (unsigned i = 0; i < 10; i++)
    say(fixture, i % 2 ? "{\"request_id\":null,\"success\":true}" : "line 5");
  assert_int_equal(fixture->ends, 1);
}

static void one_that_was_asked_to_go_is_used_no_more(void **state) {
  struct fixture *fixture = *state;
  begin(fixture, false);
  hello(fixture, "\"memory.clear\"");
  talk_close(fixture->talk);
  assert_int_equal(fixture->ends, 1);
  assert_false(talk_ready(fixture->talk));
  fixture->task = (struct mover_task){.action = MOVER_CLEAR, .done = task_done};
  assert_false(talk_submit(fixture->talk, &fixture->task));
  pass(fixture, 1);
  assert_int_equal(fixture->kills, 0);
  pass(fixture, 1);
  assert_true(fixture->kills);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(all_tasks_of_a_subject_are_cancelled),
      test(a_guest_is_asked_what_it_can_and_told_the_thresholds),
      test(a_guest_that_can_little_is_asked_little),
      test(one_of_ours_is_initialized_whatever_it_says),
      test(without_descriptors_no_segment_is_touched),
      test(a_silent_guest_is_given_up_and_left_alone),
      test(one_that_is_heard_of_again_is_ready),
      test(a_guest_that_answers_no_ping_is_given_up),
      test(one_that_leaves_fails_what_it_had_begun),
      test(what_it_had_not_begun_is_given_back),
      test(a_silent_one_of_ours_is_ended_and_then_killed),
      test(a_complaint_is_no_bad_line),
      test(one_that_was_asked_to_go_is_used_no_more),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
