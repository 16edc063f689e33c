/* history: what goes in comes out, over tiers, restarts and broken disks. */
#include "history/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/units.h"
#include <stdatomic.h>

#define HOUR (UINT64_C(3600) * CLOCK_SECOND)
#define DAY (24 * HOUR)

struct there {
  char folder[64], file[96];
  struct history *history;
};

static void open_history(struct there *there) {
  const struct history_params params = {.folder = there->folder, .retry_ns = 1};
  assert_int_equal(history_open(&params, &there->history), STATUS_OK);
}

static void reopen(struct there *there) {
  history_close(there->history);
  open_history(there);
}

static int make(void **state) {
  struct there *there = calloc(1, sizeof *there);
  strcpy(there->folder, "/tmp/memkeep-history-XXXXXX");
  assert_non_null(mkdtemp(there->folder));
  snprintf(there->file, sizeof there->file, "%s/history.db", there->folder);
  open_history(there);
  *state = there;
  return 0;
}

static int unmake(void **state) {
  struct there *there = *state;
  char command[128];
  history_close(there->history);
  chmod(there->folder, 0700);
  snprintf(command, sizeof command, "rm -rf %s", there->folder);
  assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): the words are ours
  free(there);
  return 0;
}

/* ---- on its thread ---- */

struct question {
  struct task task;
  struct there *there;
  struct history_window window;
  struct history_usage usage;
  struct history_operation operations[4];
  struct history_route routes[4];
  struct history_event events[4];
  uint64_t uses[8], many[2048];
  uint32_t operation_count, route_count, event_count, use_count, many_count;
  atomic_bool done;
};

static void answer(struct task *task) {
  struct question *q = (struct question *)task;
  history_usage(q->there->history, &q->window, &q->usage);
  q->operation_count = history_operations(q->there->history, &q->window, q->operations, 4);
  q->route_count = history_transfers(q->there->history, &q->window, q->routes, 4);
  q->event_count = history_events(q->there->history, &q->window, q->events, 4);
  q->use_count = history_uses(q->there->history, q->uses, 8);
  q->many_count = history_uses(q->there->history, q->many, 2048);
  q->done = true;
}

static struct question *ask(struct there *there, uint64_t from, uint64_t to) {
  static struct question q;
  q = (struct question){.task.run = answer, .there = there, .window = {"host:0", from, to, 100}};
  assert_true(history_post(there->history, &q.task));
  while (!q.done)
    usleep(200);
  return &q;
}

static void sample(struct there *there, uint64_t time, uint64_t used, uint32_t level) {
  history_sample(there->history, &(struct history_sample){.time = time,
                                                          .device = "host:0",
                                                          .used = used,
                                                          .allocated = used / 2,
                                                          .largest = 1000 - used / GIB,
                                                          .fragmentation = 100,
                                                          .level = level,
                                                          .made = 2,
                                                          .made_bytes = 20,
                                                          .freed = 1});
}

/* One every second, of so many seconds: what one batch takes. */
static void fill(struct there *there, uint64_t start, unsigned seconds) {
  ask(there, 0, 1); /* so that no minute is made in the midst of it */
  for (unsigned i = 0; i < seconds; i++)
    sample(there, start + i * CLOCK_SECOND, (1 + i % 100) * GIB, i % 4);
}

/* ---- tests ---- */

static uint64_t whole_hour(unsigned hours_ago) {
  uint64_t now = clock_real();
  return now - now % HOUR - hours_ago * HOUR;
}

static void check_figures(const struct question *q, unsigned seconds) {
  const struct history_usage *usage = &q->usage;
  assert_int_equal(usage->seconds, seconds);
  assert_int_equal(usage->peak, 100 * GIB);
  assert_in_range(usage->average, 50 * GIB, 51 * GIB);
  assert_in_range(usage->p50, 49 * GIB, 52 * GIB);
  assert_in_range(usage->p95, 93 * GIB, 97 * GIB);
  assert_int_equal(usage->made, 2 * seconds);
  assert_int_equal(usage->freed, seconds);
  for (unsigned i = 0; i < HISTORY_LEVELS; i++)
    assert_int_equal(usage->levels[i], seconds / 4);
}

static void test_figures_are_the_same_in_every_tier(void **state) {
  struct there *there = *state;
  uint64_t start = whole_hour(2);
  fill(there, start, 1800);
  check_figures(ask(there, start, start + HOUR - 1), 1800);
  assert_int_equal(ask(there, start, start + HOUR / 2 - 1)->usage.point_count, 100);
  reopen(there); /* makes minutes and hours at once */
  /* Read from minutes, then from hours. */
  check_figures(ask(there, start - 9 * HOUR, clock_real()), 1800);
  check_figures(ask(there, start - 300 * DAY, clock_real()), 1800);
}

static void test_hours_and_weekdays_are_utc(void **state) {
  struct there *there = *state;
  uint64_t start = whole_hour(1);
  fill(there, start, 400);
  const struct history_usage *usage = &ask(there, start, start + HOUR)->usage;
  unsigned hour = (unsigned)(start / HOUR % 24), day = (unsigned)((start / DAY + 3) % 7);
  assert_int_equal(usage->hours[hour].seconds, 400);
  assert_int_equal(usage->weekdays[day].seconds, 400);
  assert_int_equal(usage->hours[(hour + 1) % 24].seconds, 0);
}

static void test_it_outlives_a_restart(void **state) {
  struct there *there = *state;
  uint64_t start = whole_hour(2);
  fill(there, start, 1200);
  reopen(there);
  fill(there, start + 1200 * CLOCK_SECOND, 1200);
  check_figures(ask(there, start, start + HOUR), 2400);
  reopen(there);
  check_figures(ask(there, start, start + HOUR), 2400);
}

static void test_records_come_back(void **state) {
  struct there *there = *state;
  uint64_t now = clock_real();
  struct history_latency latency = {.time = now,
                                    .errors = 1,
                                    .sum_ns = 10,
                                    .max_ns = 9,
                                    .action = "a",
                                    .buckets = {[3] = 2, [100] = 70000}};
  history_latency(there->history, &latency);
  latency.buckets[3] = 5;
  latency.max_ns = 4;
  history_latency(there->history, &latency);
  for (uint64_t i = 1; i <= 3; i++)
    history_transfer(there->history,
                     &(struct history_transfer){now, i * 1000, 1000, "a", "b", "p", false});
  history_transfer(there->history, &(struct history_transfer){now, 9, 1, "a", "b", "p", true});
  history_event(there->history, &(struct history_event){
                                    .time = now, .subject = 7, .type = "x", .device = "host:0"});
  const struct question *q = ask(there, now - HOUR, now + 1);
  assert_int_equal(q->operation_count, 1);
  assert_int_equal(q->operations[0].count, 140007);
  assert_int_equal(q->operations[0].errors, 2);
  assert_int_equal(q->operations[0].max_ns, 9);
  assert_int_equal(q->route_count, 1);
  assert_int_equal(q->routes[0].count, 4);
  assert_int_equal(q->routes[0].failed, 1);
  assert_int_equal(q->routes[0].bytes, 6000);
  assert_int_equal(q->routes[0].best_per_second, 3 * CLOCK_SECOND);
  assert_int_equal(q->routes[0].p50_per_second, 2 * CLOCK_SECOND);
  assert_int_equal(q->event_count, 1);
  assert_int_equal(q->events[0].subject, 7);
  assert_int_equal(ask(there, now - 9 * DAY, now)->operations[0].count, 140007);
}

static void test_of_two_samples_the_larger_is_the_95th(void **state) {
  struct there *there = *state;
  uint64_t now = clock_real();
  sample(there, now - 2 * CLOCK_SECOND, GIB, 0);
  sample(there, now - CLOCK_SECOND, 9 * GIB, 0);
  const struct history_usage *usage = &ask(there, now - HOUR, now)->usage;
  assert_in_range(usage->p50, GIB - GIB / 50, GIB + GIB / 50);
  assert_in_range(usage->p95, 9 * GIB - GIB / 5, 9 * GIB);
}

static struct history_state state_of(struct there *there) {
  struct history_state found;
  history_state(there->history, &found);
  return found;
}

static void overwrite(const struct there *there, const char *text) {
  FILE *file = fopen(there->file, "w");
  assert_non_null(file);
  for (unsigned i = 0; i < 1000; i++)
    fputs(text, file);
  fclose(file);
}

static void test_a_corrupt_file_is_set_aside(void **state) {
  struct there *there = *state;
  char aside[128];
  history_close(there->history);
  overwrite(there, "this is no database ");
  open_history(there);
  sample(there, clock_real(), GIB, 0);
  assert_int_equal(ask(there, 0, clock_real())->usage.seconds, 1);
  assert_true(state_of(there).on_disk);
  assert_non_null(strstr(state_of(there).reason, "corrupt"));
  snprintf(aside, sizeof aside, "%s.corrupt", there->file);
  assert_int_equal(access(aside, F_OK), 0);
}

static void test_a_newer_file_is_set_aside(void **state) {
  struct there *there = *state;
  char command[160];
  ask(there, 0, 1);
  history_close(there->history);
  FILE *file = fopen(there->file, "r+");
  assert_non_null(file);
  fseek(file, 60, SEEK_SET); /* user_version */
  fputs("\x01", file);
  fclose(file);
  open_history(there);
  ask(there, 0, 1);
  assert_true(state_of(there).on_disk);
  assert_non_null(strstr(state_of(there).reason, "newer"));
  snprintf(command, sizeof command, "%s.newer", there->file);
  assert_int_equal(access(command, F_OK), 0);
}

static void test_what_is_open_elsewhere_is_left_alone_until_it_is_free(void **state) {
  struct there *there = *state;
  struct there second = *there;
  ask(there, 0, 1);
  open_history(&second);
  sample(&second, clock_real(), GIB, 0);
  assert_int_equal(ask(&second, 0, clock_real())->usage.seconds, 1);
  assert_false(state_of(&second).on_disk);
  assert_non_null(strstr(state_of(&second).reason, "another daemon"));
  history_close(there->history);
  there->history = second.history;
  /* What was kept in memory meanwhile is in the file then. */
  assert_int_equal(ask(there, 0, clock_real())->usage.seconds, 1);
  assert_true(state_of(there).on_disk);
  reopen(there);
  assert_int_equal(ask(there, 0, clock_real())->usage.seconds, 1);
}

static void test_a_second_goes_on_after_a_restart(void **state) {
  struct there *there = *state;
  uint64_t now = clock_real();
  sample(there, now, GIB, 0);
  reopen(there);
  sample(there, now, 2 * GIB, 0);
  const struct history_usage *usage = &ask(there, 0, now)->usage;
  assert_int_equal(usage->seconds, 1);
  assert_int_equal(usage->made, 4);
  assert_int_equal(usage->peak, 2 * GIB);
}

static void test_without_a_folder_it_is_kept_in_memory(void **state) {
  struct there *there = *state;
  struct there second = *there;
  second.folder[0] = '\0';
  open_history(&second);
  sample(&second, clock_real(), GIB, 0);
  assert_int_equal(ask(&second, 0, clock_real())->usage.seconds, 1);
  assert_false(state_of(&second).on_disk);
  history_close(second.history);
}

static void test_a_push_that_finds_no_room_is_counted(void **state) {
  struct there *there = *state;
  uint64_t now = clock_real();
  for (unsigned i = 0; i < 100000; i++)
    history_event(there->history, &(struct history_event){.time = now});
  ask(there, 0, 1);
  assert_true(state_of(there).dropped > 0);
  assert_int_equal(state_of(there).queued, 0);
}

static void use(struct there *there, const char *names) {
  for (; *names; names++)
    history_use(there->history, clock_real(), *names == '.' ? 0 : (uint64_t)*names);
}

/* Oldest first; a gap is a point. */
static const char *uses_of(struct there *there) {
  static char names[9];
  const struct question *q = ask(there, 0, 1);
  for (uint32_t i = 0; i < q->use_count; i++)
    names[i] = q->uses[i] ? (char)q->uses[i] : '.';
  names[q->use_count] = '\0';
  return names;
}

static void test_the_last_uses_come_back_in_their_order(void **state) {
  struct there *there = *state;
  use(there, "lost.ab");
  assert_string_equal(uses_of(there), "lost.ab");
  reopen(there);
  use(there, ".cde");
  assert_string_equal(uses_of(there), "t.ab.cde");
}

static void test_more_uses_than_have_room_are_a_gap(void **state) {
  struct there *there = *state;
  for (unsigned i = 0; i < 100000; i++)
    use(there, "a");
  const struct question *q = ask(there, 0, 1);
  uint32_t gaps = 0;
  for (uint32_t i = 0; i < q->many_count; i++)
    gaps += q->many[i] == 0;
  assert_true(gaps > 0);
}

/* A file of the daemon before this one has no such table. */
static void test_a_file_without_uses_gets_them(void **state) {
  struct there *there = *state;
  sqlite3 *file;
  use(there, "lost");
  history_close(there->history);
  assert_int_equal(sqlite3_open(there->file, &file), SQLITE_OK);
  assert_int_equal(sqlite3_exec(file, "DROP TABLE use", NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(file);
  open_history(there);
  use(there, "a");
  assert_string_equal(uses_of(there), "a");
}

static void test_times_that_find_no_room_stay_with_the_pusher(void **state) {
  struct there second = {.folder = ""};
  struct history_latency latency = {.time = clock_real()};
  unsigned refused = 0;
  (void)state;
  open_history(&second);
  for (unsigned i = 0; i < 1000; i++) {
    snprintf(latency.action, sizeof latency.action, "%u", i);
    refused += !history_latency(second.history, &latency);
  }
  assert_true(refused > 0);
  assert_int_equal(state_of(&second).dropped, 0);
  snprintf(latency.action, sizeof latency.action, "0");
  ask(&second, 0, 1);
  assert_true(history_latency(second.history, &latency));
  assert_false(history_latency(NULL, &latency));
  history_close(second.history);
}

static void test_nothing_is_found_without_a_history(void **state) {
  struct history_usage usage;
  (void)state;
  history_sample(NULL, &(struct history_sample){.used = 1});
  history_usage(NULL, &(struct history_window){.device = "host:0"}, &usage);
  assert_int_equal(usage.seconds, 0);
  history_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_figures_are_the_same_in_every_tier),
      TEST(test_hours_and_weekdays_are_utc),
      TEST(test_it_outlives_a_restart),
      TEST(test_records_come_back),
      TEST(test_of_two_samples_the_larger_is_the_95th),
      TEST(test_a_corrupt_file_is_set_aside),
      TEST(test_a_newer_file_is_set_aside),
      TEST(test_what_is_open_elsewhere_is_left_alone_until_it_is_free),
      TEST(test_a_second_goes_on_after_a_restart),
      TEST(test_without_a_folder_it_is_kept_in_memory),
      TEST(test_a_push_that_finds_no_room_is_counted),
      TEST(test_the_last_uses_come_back_in_their_order),
      TEST(test_more_uses_than_have_room_are_a_gap),
      TEST(test_a_file_without_uses_gets_them),
      cmocka_unit_test(test_times_that_find_no_room_stay_with_the_pusher),
      cmocka_unit_test(test_nothing_is_found_without_a_history),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
