/*
 * arena: against a model that marks every granule with who has it, and what each promise in
 * arena.h means one by one.
 */
#include "torch/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"

#define START (UINT64_C(1) << 40)
#define GRANULE (2 * MIB)
#define RANGE (512 * MIB)

/* Streams that are as far as the test says. */
struct clock {
  uint64_t now, passed[ARENA_STREAMS];
};

static uint64_t mark(void *ctx, uint32_t stream, uint64_t others) {
  struct clock *clock = ctx;
  (void)stream;
  (void)others;
  return ++clock->now;
}

static bool passed(void *ctx, uint32_t stream, uint64_t at) {
  return ((struct clock *)ctx)->passed[stream] >= at;
}

static struct clock streams;

static int set_up(void **state) {
  const struct arena_params params = {
      .start = START, .size = RANGE, .granule = GRANULE, .clock = {mark, passed, &streams}};
  streams = (struct clock){.now = 0};
  *state = arena_create(&params);
  return *state ? 0 : -1;
}

static int tear_down(void **state) {
  arena_check(*state);
  arena_free(*state);
  return 0;
}

/* As the card does it: a segment where the arena wants one. */
static uint64_t take(struct arena *arena, uint64_t size, uint32_t stream) {
  uint64_t start = arena_take(arena, size, stream);
  struct arena_segment segment;
  if (start)
    return start;
  arena_adopt(arena, stream);
  start = arena_take(arena, size, stream);
  if (start || !arena_plan(arena, size, stream, 0, &segment))
    return start;
  assert_true(arena_add(arena, &segment, stream));
  return arena_take(arena, size, stream);
}

static struct arena_figures look(const struct arena *arena) {
  struct arena_figures figures;
  arena_look(arena, &figures);
  return figures;
}

static uint64_t trim_all(struct arena *arena) {
  struct arena_segment segment;
  uint64_t went = 0;
  while (arena_trim(arena, UINT64_MAX, &segment)) {
    went += segment.size;
    arena_gone(arena, segment.start);
  }
  return went;
}

static void test_what_was_given_is_taken_again(void **state) {
  uint64_t start = take(*state, 64 * MIB, 0);
  assert_true(arena_give(*state, start));
  assert_int_equal(start, take(*state, 64 * MIB, 0));
  assert_int_equal(64 * MIB, look(*state).reserved);
}

static void test_what_is_not_there_cannot_be_given(void **state) {
  uint64_t start = take(*state, MIB, 0);
  assert_false(arena_give(*state, start + 512));
  assert_true(arena_give(*state, start));
  assert_false(arena_give(*state, start));
  assert_false(arena_share(*state, start, 1));
}

static void test_nonsense_is_refused(void **state) {
  struct arena_segment segment;
  assert_int_equal(0, arena_take(*state, 0, 0));
  assert_int_equal(0, arena_take(*state, UINT64_MAX, 0));
  assert_false(arena_plan(*state, 0, 0, 0, &segment));
  assert_false(arena_plan(*state, UINT64_MAX, 0, 0, &segment));
  assert_false(arena_plan(*state, RANGE + 1, 0, 0, &segment));
  assert_false(arena_add(*state, &(struct arena_segment){START, RANGE + GRANULE, NULL}, 0));
  assert_false(arena_add(*state, &(struct arena_segment){START + 512, GRANULE, NULL}, 0));
}

static void test_segments_are_next_to_each_other(void **state) {
  struct arena_segment segment;
  uint64_t first = take(*state, 6 * MIB, 0), second = take(*state, 6 * MIB, 0);
  assert_int_equal(first + 6 * MIB, second);
  arena_give(*state, first);
  arena_give(*state, second);
  assert_int_equal(first, arena_take(*state, 12 * MIB, 0)); /* over both */
  assert_false(arena_trim(*state, UINT64_MAX, &segment));
}

static void test_only_what_is_missing_is_asked_for(void **state) {
  struct arena_segment segment;
  uint64_t first = take(*state, 10 * MIB, 0);
  arena_give(*state, first);
  assert_true(arena_plan(*state, 13 * MIB, 0, 0, &segment));
  assert_int_equal(START + 10 * MIB, segment.start);
  assert_int_equal(4 * MIB, segment.size);
  assert_true(arena_plan(*state, 13 * MIB, 0, 32 * MIB, &segment));
  assert_int_equal(32 * MIB, segment.size);
}

static void test_a_hole_is_filled_first(void **state) {
  struct arena_segment segment;
  uint64_t low = take(*state, 8 * MIB, 0), middle = take(*state, 8 * MIB, 0);
  uint64_t high = take(*state, 8 * MIB, 0);
  arena_give(*state, middle);
  assert_int_equal(8 * MIB, trim_all(*state));
  assert_true(arena_plan(*state, 8 * MIB, 0, 0, &segment));
  assert_int_equal(middle, segment.start);
  assert_true(low < middle && middle < high);
}

static void test_an_empty_segment_goes_whatever_lies_beside_it(void **state) {
  uint64_t starts[3];
  for (int i = 0; i < 3; i++)
    starts[i] = take(*state, 4 * MIB, 0);
  arena_give(*state, starts[1]);
  assert_int_equal(4 * MIB, look(*state).empty);
  assert_int_equal(4 * MIB, trim_all(*state));
  arena_give(*state, starts[0]);
  arena_give(*state, starts[2]);
  assert_int_equal(8 * MIB, trim_all(*state));
  assert_int_equal(0, look(*state).reserved);
}

static void test_no_more_goes_than_may(void **state) {
  struct arena_segment segment;
  uint64_t small = take(*state, 2 * MIB, 0), large = take(*state, 32 * MIB, 0);
  arena_give(*state, small);
  arena_give(*state, large);
  assert_true(arena_trim(*state, 8 * MIB, &segment));
  assert_int_equal(2 * MIB, segment.size);
  assert_false(arena_trim(*state, 8 * MIB, &segment));
  arena_gone(*state, segment.start);
}

static void test_what_leaves_is_not_taken(void **state) {
  struct arena_segment segment;
  uint64_t start = take(*state, 8 * MIB, 0);
  arena_give(*state, start);
  assert_true(arena_trim(*state, UINT64_MAX, &segment));
  assert_int_equal(0, arena_take(*state, 512, 0));
  assert_int_not_equal(start, take(*state, 8 * MIB, 0));
  arena_gone(*state, segment.start);
}

static void test_what_was_to_leave_may_stay(void **state) {
  struct arena_segment segments[2];
  uint64_t first = take(*state, 8 * MIB, 0), second = take(*state, 8 * MIB, 0);
  arena_give(*state, first);
  arena_give(*state, second);
  assert_true(arena_trim(*state, UINT64_MAX, &segments[0]));
  assert_true(arena_trim(*state, UINT64_MAX, &segments[1]));
  assert_int_equal(0, arena_reserved(*state));
  arena_keep(*state, &segments[0]);
  arena_keep(*state, &segments[1]);
  assert_int_equal(16 * MIB, look(*state).empty);
  assert_int_equal(first, arena_take(*state, 16 * MIB, 0));
}

static void test_a_stream_waits_for_another(void **state) {
  uint64_t start = take(*state, 8 * MIB, 0);
  arena_give(*state, start);
  assert_int_not_equal(start, take(*state, 8 * MIB, 1));
  assert_int_equal(start, take(*state, 8 * MIB, 0)); /* its own at once */
  arena_give(*state, start);
  streams.passed[0] = streams.now;
  assert_int_equal(start, take(*state, 8 * MIB, 1));
}

static void test_what_two_streams_use_waits_for_both(void **state) {
  uint64_t start = take(*state, 8 * MIB, 0);
  assert_true(arena_share(*state, start, 3));
  assert_true(arena_give(*state, start));
  assert_false(arena_give(*state, start));
  assert_int_equal(0, arena_take(*state, 8 * MIB, 0));
  assert_int_equal(8 * MIB, arena_used(*state));
  assert_int_equal(0, trim_all(*state));
  streams.passed[3] = streams.now;
  assert_int_equal(start, arena_take(*state, 8 * MIB, 0));
}

static void test_who_waits_long_holds_up_nobody(void **state) {
  uint64_t starts[3];
  for (uint32_t i = 0; i < 3; i++) {
    starts[i] = take(*state, 8 * MIB, 0);
    arena_share(*state, starts[i], i + 1);
    arena_give(*state, starts[i]);
  }
  streams.passed[3] = streams.now;
  assert_int_equal(starts[2], arena_take(*state, 8 * MIB, 0));
  streams.passed[2] = streams.passed[1] = streams.now;
  assert_int_equal(starts[0], arena_take(*state, 16 * MIB, 0));
}

static void test_streams_pieces_are_apart_until_one_takes_over(void **state) {
  uint64_t first = take(*state, 2 * MIB, 0), second = take(*state, 2 * MIB, 1);
  arena_give(*state, first);
  arena_give(*state, second);
  assert_int_equal(0, arena_take(*state, 4 * MIB, 0));
  streams.passed[1] = streams.now;
  arena_adopt(*state, 0);
  assert_int_equal(first, arena_take(*state, 4 * MIB, 0));
}

static void test_the_peak_is_of_a_window(void **state) {
  uint64_t start = take(*state, 8 * MIB, 0);
  arena_give(*state, start);
  assert_int_equal(8 * MIB, arena_peak(*state));
  assert_int_equal(0, arena_peak(*state));
}

static void test_a_full_range_says_so(void **state) {
  assert_int_not_equal(0, take(*state, RANGE - 2 * MIB, 0));
  assert_int_equal(0, take(*state, 4 * MIB, 0));
  assert_int_not_equal(0, take(*state, 2 * MIB, 0));
  assert_int_equal(0, take(*state, 1, 0));
}

/* ---- by chance ---- */

#define HELD 400
#define STEPS 60000

struct held {
  uint64_t start, size;
  uint32_t stream;
};

static uint16_t owners[RANGE / ARENA_ROUND]; /* number of who has it; 0: nobody */

static void stamp(const struct held *held, uint16_t expected, uint16_t next) {
  uint64_t first = (held->start - START) / ARENA_ROUND;
  uint64_t count = (held->size + ARENA_ROUND - 1) / ARENA_ROUND;
  for (uint64_t i = first; i < first + count; i++) {
    assert_int_equal(expected, owners[i]);
    owners[i] = next;
  }
}

static uint64_t chance(uint64_t *seed, uint64_t below) {
  *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (*seed >> 33) % below;
}

static void step(struct arena *arena, struct held *held, uint64_t *seed) {
  uint16_t number = (uint16_t)(chance(seed, HELD) + 1);
  struct held *one = &held[number];
  if (one->start) {
    stamp(one, number, 0);
    if (chance(seed, 8) == 0)
      arena_share(arena, one->start, (uint32_t)chance(seed, 3));
    assert_true(arena_give(arena, one->start));
    one->start = 0;
    return;
  }
  one->size = chance(seed, UINT64_C(1) << chance(seed, 24)) + 1;
  one->stream = (uint32_t)chance(seed, 3);
  one->start = take(arena, one->size, one->stream);
  if (one->start)
    stamp(one, 0, number);
}

static void test_random_work_keeps_the_books(void **state) {
  static struct held held[HELD + 1];
  uint64_t seed = 7;
  memset(owners, 0, sizeof owners);
  for (unsigned i = 0; i < STEPS; i++) {
    step(*state, held, &seed);
    if (i % 64 == 0)
      streams.passed[chance(&seed, 3)] = streams.now;
    if (i % 997 == 0)
      (void)trim_all(*state);
    if (i % 509 == 0)
      arena_check(*state);
  }
  for (unsigned i = 1; i <= HELD; i++)
    if (held[i].start)
      assert_true(arena_give(*state, held[i].start));
  for (unsigned i = 0; i < 3; i++)
    streams.passed[i] = streams.now;
  while (look(*state).used) /* a few are looked at in each call */
    (void)arena_take(*state, RANGE, 0);
  arena_adopt(*state, 0);
  (void)trim_all(*state);
  assert_int_equal(0, look(*state).reserved);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(what_was_given_is_taken_again),
      TEST(what_is_not_there_cannot_be_given),
      TEST(nonsense_is_refused),
      TEST(segments_are_next_to_each_other),
      TEST(only_what_is_missing_is_asked_for),
      TEST(a_hole_is_filled_first),
      TEST(an_empty_segment_goes_whatever_lies_beside_it),
      TEST(no_more_goes_than_may),
      TEST(what_leaves_is_not_taken),
      TEST(what_was_to_leave_may_stay),
      TEST(a_stream_waits_for_another),
      TEST(what_two_streams_use_waits_for_both),
      TEST(who_waits_long_holds_up_nobody),
      TEST(streams_pieces_are_apart_until_one_takes_over),
      TEST(the_peak_is_of_a_window),
      TEST(a_full_range_says_so),
      TEST(random_work_keeps_the_books),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
