/* samples: tiers are made from each other, and rows that were kept apart meet. */
#include "history/samples.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"

#define HOUR UINT64_C(3600) /* s */
#define START (1000000 * HOUR)
#define NOW (START + 3 * HOUR)

struct there {
  struct sql *file, *memory;
};

static int make(void **state) {
  struct there *there = calloc(1, sizeof *there);
  there->file = sql_open(NULL);
  there->memory = sql_open(NULL);
  sql_run(there->file, SAMPLES_TABLE);
  sql_run(there->memory, SAMPLES_TABLE);
  *state = there;
  return 0;
}

static int unmake(void **state) {
  struct there *there = *state;
  assert_false(sql_failed(there->file));
  assert_false(sql_failed(there->memory));
  sql_close(there->file);
  sql_close(there->memory);
  free(there);
  return 0;
}

static void add(struct sql *sql, uint64_t from, uint64_t seconds) {
  for (uint64_t i = 0; i < seconds; i++)
    samples_add(
        sql, &(struct history_sample){.time = (from + i) * CLOCK_SECOND, .device = "a", .used = 7});
}

static void count(void *arg, const struct samples_row *row) {
  *(uint64_t *)arg += row->seconds;
  assert_int_equal(row->averages[SAMPLES_USED], 7);
}

/* How many seconds are known of. */
static uint64_t seconds(struct sql *sql, enum samples_tier tier, uint64_t from, uint64_t to) {
  uint64_t found = 0;
  samples_walk(
      sql, &(struct samples_walk){
               .device = "a", .from = from, .to = to, .tier = tier, .fn = count, .arg = &found});
  return found;
}

static void check(struct sql *sql, uint64_t expected) {
  for (int tier = SAMPLES_SECOND; tier < SAMPLES_TIERS; tier++)
    assert_int_equal(seconds(sql, (enum samples_tier)tier, START, NOW + HOUR), expected);
}

static void check_hours(struct sql *sql, uint64_t expected) {
  sql_run(sql, "DELETE FROM sample WHERE tier<2");
  assert_int_equal(seconds(sql, SAMPLES_HOUR, START, NOW + HOUR), expected);
}

static void test_a_window_begins_and_ends_within_an_hour(void **state) {
  struct sql *sql = ((struct there *)*state)->file;
  add(sql, START, 2 * HOUR + 1000);
  samples_tend(sql, START + 2 * HOUR + 1000, false);
  for (int tier = SAMPLES_SECOND; tier < SAMPLES_TIERS; tier++) {
    enum samples_tier which = (enum samples_tier)tier;
    assert_int_equal(seconds(sql, which, START + 1111, NOW), 2 * HOUR - 111);
    assert_int_equal(seconds(sql, which, START + 1111, START + 1120), 9);
    assert_int_equal(seconds(sql, which, START + 2 * HOUR + 10, NOW), 990);
  }
}

/* A daemon ended within a minute, the next could not open the file for a while. */
static void test_an_hour_that_was_kept_apart_is_made_anew(void **state) {
  struct there *there = *state;
  add(there->file, START, 2790);
  add(there->memory, START + 2800, 700);
  samples_tend(there->memory, START + HOUR + 1, true);
  samples_give(there->memory, there->file, NOW);
  check(there->file, 3490);
  check_hours(there->file, 3490);
}

static void test_minutes_that_were_never_made_are_not_skipped(void **state) {
  struct there *there = *state;
  add(there->file, START, 90);
  add(there->memory, START + 2 * HOUR + 5, 60);
  samples_tend(there->memory, START + 2 * HOUR + 100, true);
  samples_give(there->memory, there->file, NOW);
  check(there->file, 150);
  check_hours(there->file, 150);
}

static void test_the_hour_under_way_goes_on(void **state) {
  struct there *there = *state;
  add(there->file, START, 90);
  add(there->memory, START + 100, 90);
  samples_tend(there->memory, START + 200, true);
  samples_give(there->memory, there->file, START + 200);
  check(there->file, 180);
  add(there->file, START + 200, 100);
  samples_tend(there->file, NOW, false);
  check_hours(there->file, 280);
}

/* The file failed; what it took is in the memory too. */
static void test_what_the_memory_has_from_the_file_is_not_counted_twice(void **state) {
  struct there *there = *state;
  add(there->file, START, 630);
  samples_seed(there->file, there->memory, START + 640);
  add(there->memory, START + 640, 600);
  samples_tend(there->memory, START + 1300, true);
  samples_give(there->memory, there->file, NOW);
  check(there->file, 1230);
  check_hours(there->file, 1230);
}

static void test_of_two_parts_the_larger_stays(void **state) {
  struct there *there = *state;
  add(there->file, START, 600);
  samples_tend(there->file, NOW, false);
  check_hours(there->file, 600);
  add(there->memory, START + 1000, 100);
  samples_tend(there->memory, NOW, true);
  samples_give(there->memory, there->file, NOW);
  assert_int_equal(seconds(there->file, SAMPLES_HOUR, START, NOW), 600);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_a_window_begins_and_ends_within_an_hour),
      TEST(test_an_hour_that_was_kept_apart_is_made_anew),
      TEST(test_minutes_that_were_never_made_are_not_skipped),
      TEST(test_the_hour_under_way_goes_on),
      TEST(test_what_the_memory_has_from_the_file_is_not_counted_twice),
      TEST(test_of_two_parts_the_larger_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
