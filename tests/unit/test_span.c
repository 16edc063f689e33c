/* span: ranges are handed out and come back without a byte lost or given twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "memory/span.h"

#define GRANULES 1024 /* of the span that is held against a map of bytes */

struct fixture {
  struct pool nodes;
  struct span *span;
};

static int make(void **state) {
  struct fixture *fixture = calloc(1, sizeof *fixture);
  assert_int_equal(STATUS_OK, span_nodes_init(&fixture->nodes, 4096));
  assert_int_equal(STATUS_OK, span_create(&fixture->nodes, GRANULES * 256, 256, &fixture->span));
  *state = fixture;
  return 0;
}

static int unmake(void **state) {
  struct fixture *fixture = *state;
  span_free(fixture->span);
  assert_int_equal(0, fixture->nodes.live);
  pool_done(&fixture->nodes);
  free(fixture);
  return 0;
}

static enum status take(struct span *span, uint64_t size, uint64_t alignment, uint32_t *node,
                        uint64_t *offset) {
  return span_take(span, &(struct span_request){size, alignment, 7}, node, offset);
}

static void a_new_span_is_one_free_range(void **state) {
  struct span *span = ((struct fixture *)*state)->span;
  assert_int_equal(GRANULES * 256, span_size(span));
  assert_int_equal(0, span_used(span));
  assert_int_equal(1, span_free_ranges(span));
  assert_int_equal(GRANULES * 256, span_largest_free(span));
  assert_true(span_check(span));
}

static void sizes_that_are_none_are_refused(void **state) {
  struct span *span = ((struct fixture *)*state)->span;
  static const uint64_t sizes[] = {0, GRANULES * 256 + 1, UINT64_C(1) << 62, UINT64_MAX};
  uint32_t node = 9;
  uint64_t offset = 9;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    assert_int_equal(STATUS_INSUFFICIENT_MEMORY, take(span, sizes[i], 256, &node, &offset));
    assert_false(span_may_fit(span, sizes[i], 256));
  }
  assert_int_equal(9, node);
  assert_int_equal(9, offset);
  assert_true(span_check(span));
}

static void all_of_it_can_be_one_block(void **state) {
  struct span *span = ((struct fixture *)*state)->span;
  uint32_t node, other;
  uint64_t offset;
  assert_int_equal(STATUS_OK, take(span, GRANULES * 256, 256, &node, &offset));
  assert_int_equal(0, offset);
  assert_int_equal(0, span_free_ranges(span));
  assert_int_equal(0, span_largest_free(span));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, take(span, 1, 1, &other, &offset));
  span_give(span, node);
  assert_int_equal(1, span_free_ranges(span));
}

static void an_alignment_is_kept_and_what_is_before_stays_free(void **state) {
  struct span *span = ((struct fixture *)*state)->span;
  uint32_t first, aligned, small;
  uint64_t offset;
  assert_int_equal(STATUS_OK, take(span, 256, 256, &first, &offset));
  assert_int_equal(STATUS_OK, take(span, 300, 65536, &aligned, &offset));
  assert_int_equal(0, offset % 65536);
  assert_int_not_equal(0, offset);
  assert_int_equal(512, span_block_at(span, aligned).size);
  assert_int_equal(2, span_free_ranges(span));
  assert_int_equal(STATUS_OK, take(span, 65536 - 256, 256, &small, &offset));
  assert_int_equal(256, offset);
  assert_true(span_check(span));
}

/* The bin of a length holds shorter ones too: an exact fit must be found all the same. */
static void an_exact_fit_is_found_when_nothing_else_is_left(void **state) {
  struct span *span = ((struct fixture *)*state)->span;
  uint32_t nodes[3], node;
  uint64_t offset;
  assert_int_equal(STATUS_OK, take(span, 17 * 256, 256, &nodes[0], &offset));
  assert_int_equal(STATUS_OK, take(span, 16 * 256, 256, &nodes[1], &offset));
  assert_int_equal(STATUS_OK, take(span, (GRANULES - 33) * 256, 256, &nodes[2], &offset));
  span_give(span, nodes[0]);
  assert_int_equal(STATUS_OK, take(span, 17 * 256, 256, &node, &offset));
  assert_int_equal(0, offset);
  span_give(span, node);
  assert_int_equal(STATUS_OK, take(span, 16 * 256, 256, &node, &offset));
}

static void an_exact_place_is_taken_once(void **state) {
  struct span *span = ((struct fixture *)*state)->span;
  const struct span_request request = {512, 1, 3};
  uint32_t node, other = 0;
  assert_int_equal(STATUS_OK, span_take_at(span, 1024, &request, &node));
  assert_int_equal(1024, span_block_at(span, node).offset);
  assert_int_equal(3, span_block_at(span, node).user);
  static const uint64_t bad[] = {
      1024, 1280, 768, GRANULES * 256, GRANULES * 256 - 256, 100, UINT64_MAX - 255};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(STATUS_CONFLICT, span_take_at(span, bad[i], &request, &other));
  assert_int_equal(0, other);
  assert_int_equal(STATUS_OK, span_take_at(span, GRANULES * 256 - 512, &request, &other));
  assert_int_equal(STATUS_OK, span_take_at(span, 0, &request, &other));
  assert_true(span_check(span));
}

static void without_nodes_nothing_changes(void **state) {
  struct fixture *fixture = *state;
  uint32_t node, spare[4096], count = 0;
  uint64_t offset;
  while (fixture->nodes.live < fixture->nodes.max)
    spare[count++] = pool_take(&fixture->nodes);
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, take(fixture->span, 256, 256, &node, &offset));
  assert_true(span_check(fixture->span));
  assert_int_equal(STATUS_OK, take(fixture->span, GRANULES * 256, 256, &node, &offset));
  while (count)
    pool_give(&fixture->nodes, spare[--count]);
}

/* ---- a crowd: what is given back waits to be merged, and nobody can tell ---- */

/* Blocks of one granule from `first` on. */
static void crowd_in(struct span *span, uint64_t first, uint32_t count, uint64_t granule) {
  const struct span_request request = {granule, 1, UINT32_MAX};
  uint32_t node;
  for (uint64_t i = first; i < first + count; i++)
    assert_int_equal(STATUS_OK, span_take_at(span, i * granule, &request, &node));
}

struct crowd {
  struct pool nodes;
  struct span *span;
  uint32_t blocks[SPAN_LATE]; /* of one granule each, from 0 on; the rest is full */
};

static int make_crowd(void **state) {
  struct crowd *crowd = calloc(1, sizeof *crowd);
  uint64_t offset;
  assert_int_equal(STATUS_OK, span_nodes_init(&crowd->nodes, SPAN_CROWD + SPAN_LATE));
  assert_int_equal(STATUS_OK, span_create(&crowd->nodes, SPAN_CROWD + SPAN_LATE, 1, &crowd->span));
  for (unsigned i = 0; i < SPAN_LATE; i++)
    assert_int_equal(STATUS_OK, take(crowd->span, 1, 1, &crowd->blocks[i], &offset));
  crowd_in(crowd->span, SPAN_LATE, SPAN_CROWD, 1);
  *state = crowd;
  return 0;
}

static int unmake_crowd(void **state) {
  struct crowd *crowd = *state;
  span_free(crowd->span); /* also with blocks that wait */
  assert_int_equal(0, crowd->nodes.live);
  pool_done(&crowd->nodes);
  free(crowd);
  return 0;
}

static void give_all(struct crowd *crowd) {
  for (unsigned i = 0; i < SPAN_LATE; i++)
    span_give(crowd->span, crowd->blocks[i]);
}

static void in_a_crowd_what_was_given_back_is_free(void **state) {
  struct crowd *crowd = *state;
  give_all(crowd);
  assert_int_equal(SPAN_CROWD, span_blocks(crowd->span));
  assert_int_equal(SPAN_LATE, span_largest_free(crowd->span));
  assert_true(span_check(crowd->span));
}

static void in_a_crowd_a_take_has_all_that_was_given_back(void **state) {
  struct crowd *crowd = *state;
  uint32_t node;
  uint64_t offset;
  give_all(crowd);
  assert_int_equal(STATUS_OK, take(crowd->span, SPAN_LATE, 1, &node, &offset));
  assert_int_equal(0, offset);
}

static void in_a_crowd_who_asks_again_gets_the_same(void **state) {
  struct crowd *crowd = *state;
  uint32_t node;
  uint64_t offset;
  give_all(crowd);
  span_largest_free(crowd->span);
  for (unsigned i = 0; i < 3 * SPAN_LATE; i++) {
    assert_int_equal(STATUS_OK, take(crowd->span, 2, 1, &node, &offset));
    assert_int_equal(0, offset);
    span_give(crowd->span, node);
  }
}

/* The range that fits needs a node for what is left of it; merging gives one back. */
static void in_a_crowd_nodes_that_wait_can_be_had(void **state) {
  struct crowd *crowd = *state;
  uint32_t node;
  uint64_t offset;
  span_give(crowd->span, crowd->blocks[0]);
  span_give(crowd->span, crowd->blocks[1]);
  assert_int_equal(2, span_largest_free(crowd->span));
  uint32_t spare = pool_take(&crowd->nodes);
  assert_int_equal(crowd->nodes.max, crowd->nodes.live);
  for (unsigned i = 2; i < SPAN_LATE; i++)
    span_give(crowd->span, crowd->blocks[i]);
  assert_int_equal(STATUS_OK, take(crowd->span, 1, 1, &node, &offset));
  pool_give(&crowd->nodes, spare);
}

static void who_leaves_the_crowd_leaves_nothing_behind(void **state) {
  struct crowd *crowd = *state;
  struct span_block block;
  uint32_t node = span_next(crowd->span, 0, &block);
  while (block.offset < SPAN_LATE)
    node = span_next(crowd->span, node, &block);
  give_all(crowd);
  span_give(crowd->span, node);
  assert_int_equal(SPAN_CROWD, crowd->nodes.live); /* one for all that is free */
  assert_int_equal(SPAN_LATE + 1, span_largest_free(crowd->span));
}

/* ---- random sequences against a map that knows who has each granule ---- */

struct random_run {
  uint64_t granule, alignments;
  unsigned seed;
  uint32_t crowd; /* blocks behind the map */
  struct pool nodes;
  struct span *span;
  uint16_t owner[GRANULES]; /* 0: free */
  struct {
    uint32_t node;
    uint64_t first, count;
  } blocks[GRANULES + 1]; /* by user; node 0: free */
};

static unsigned draw(struct random_run *run, unsigned below) {
  run->seed = run->seed * 1664525u + 1013904223u;
  return (run->seed >> 8) % below;
}

static uint64_t longest_free(const struct random_run *run, uint64_t alignment) {
  uint64_t longest = 0, step = units_max(alignment / run->granule, 1);
  for (uint64_t start = 0; start < GRANULES; start += step) {
    uint64_t n = 0;
    while (start + n < GRANULES && !run->owner[start + n])
      n++;
    longest = units_max(longest, n);
  }
  return longest;
}

static void note(struct random_run *run, uint16_t user, uint32_t node, uint64_t offset,
                 uint64_t count) {
  uint64_t first = offset / run->granule;
  for (uint64_t i = first; i < first + count; i++) {
    assert_int_equal(0, run->owner[i]);
    run->owner[i] = user;
  }
  run->blocks[user].node = node;
  run->blocks[user].first = first;
  run->blocks[user].count = count;
}

static void random_take(struct random_run *run, uint16_t user) {
  uint64_t size =
      1 + draw(run, draw(run, 8) ? 12 * (unsigned)run->granule : 200 * (unsigned)run->granule);
  uint64_t alignment = UINT64_C(1) << draw(run, (unsigned)run->alignments);
  uint64_t count = (size + run->granule - 1) / run->granule, offset;
  bool fits = longest_free(run, alignment) >= count;
  bool surely = span_may_fit(run->span, size, alignment);
  struct span_request request = {size, alignment, user};
  uint32_t node;
  enum status status = span_take(run->span, &request, &node, &offset);
  assert_int_equal(fits ? STATUS_OK : STATUS_INSUFFICIENT_MEMORY, status);
  assert_true(!surely || fits);
  if (status)
    return;
  assert_int_equal(0, offset % alignment);
  note(run, user, node, offset, count);
}

static void random_take_at(struct random_run *run, uint16_t user) {
  uint64_t first = draw(run, GRANULES), count = 1 + draw(run, 16);
  bool fits = first + count <= GRANULES;
  for (uint64_t i = first; fits && i < first + count; i++)
    fits = !run->owner[i];
  struct span_request request = {count * run->granule, 1, user};
  uint32_t node;
  enum status status = span_take_at(run->span, first * run->granule, &request, &node);
  assert_int_equal(fits ? STATUS_OK : STATUS_CONFLICT, status);
  if (fits)
    note(run, user, node, first * run->granule, count);
}

static void random_give(struct random_run *run, uint16_t user) {
  struct span_block block = span_block_at(run->span, run->blocks[user].node);
  assert_int_equal(user, block.user);
  assert_int_equal(run->blocks[user].first * run->granule, block.offset);
  assert_int_equal(run->blocks[user].count * run->granule, block.size);
  span_give(run->span, run->blocks[user].node);
  memset(run->owner + run->blocks[user].first, 0, run->blocks[user].count * sizeof *run->owner);
  run->blocks[user].node = 0;
}

static void iteration_agrees(struct random_run *run) {
  struct span_block block;
  for (uint32_t node = span_next(run->span, 0, &block); node && block.user != UINT32_MAX;
       node = span_next(run->span, node, &block))
    for (uint64_t i = block.offset / run->granule; i < (block.offset + block.size) / run->granule;
         i++)
      assert_int_equal(block.user, run->owner[i]);
}

static void used_agrees(struct random_run *run) {
  uint64_t used = run->crowd;
  for (unsigned i = 0; i < GRANULES; i++)
    used += run->owner[i] != 0;
  assert_int_equal(used * run->granule, span_used(run->span));
}

static void free_ranges_agree(struct random_run *run) {
  uint32_t ranges = 0;
  for (unsigned i = 0; i < GRANULES; i++)
    ranges += !run->owner[i] && (!i || run->owner[i - 1]);
  assert_int_equal(ranges, span_free_ranges(run->span));
}

static void largest_agrees(struct random_run *run) {
  assert_int_equal(longest_free(run, 1) * run->granule, span_largest_free(run->span));
}

/* What is free twice as long is in a bin that surely fits. */
static void may_fit_agrees(struct random_run *run) {
  uint64_t half = longest_free(run, 1) / 2;
  assert_true(!half || span_may_fit(run->span, half * run->granule, 1));
}

static void invariants_hold(struct random_run *run) { assert_true(span_check(run->span)); }

/* One at a time, as whichever comes first merges what waits. */
static void agree(struct random_run *run, unsigned which) {
  static void (*const agrees[])(struct random_run *) = {iteration_agrees,  used_agrees,
                                                        free_ranges_agree, largest_agrees,
                                                        may_fit_agrees,    invariants_hold};
  agrees[which % (sizeof agrees / sizeof *agrees)](run);
}

static void run_random(uint64_t granule, uint64_t alignments, unsigned seed, uint32_t crowd) {
  struct random_run *run = calloc(1, sizeof *run);
  run->granule = granule;
  run->alignments = alignments;
  run->seed = seed;
  run->crowd = crowd;
  assert_int_equal(STATUS_OK, span_nodes_init(&run->nodes, 4096 + crowd));
  assert_int_equal(STATUS_OK,
                   span_create(&run->nodes, (GRANULES + crowd) * granule, granule, &run->span));
  crowd_in(run->span, GRANULES, crowd, granule);
  for (unsigned step = 0; step < 20000; step++) {
    uint16_t user = (uint16_t)(1 + draw(run, step / 5000 % 2 ? 40 : 300));
    if (run->blocks[user].node)
      random_give(run, user);
    else if (draw(run, 4))
      random_take(run, user);
    else
      random_take_at(run, user);
    if (step % 32 == 0)
      agree(run, step / 32);
  }
  for (uint16_t user = 1; user <= GRANULES; user++)
    if (run->blocks[user].node)
      random_give(run, user);
  assert_int_equal(1, span_free_ranges(run->span));
  assert_int_equal(GRANULES * granule, span_largest_free(run->span));
  assert_true(span_check(run->span));
  span_free(run->span);
  assert_int_equal(0, run->nodes.live);
  pool_done(&run->nodes);
  free(run);
}

static void random_sequences_agree_with_a_naive_map(void **state) {
  (void)state;
  for (unsigned seed = 1; seed <= 3; seed++) {
    run_random(1, 6, seed, 0);
    run_random(256, 14, 100 + seed, 0);
    run_random(4096, 16, 200 + seed, 0);
  }
}

/* In the middle of a crowd, and in and out of one. */
static void random_sequences_in_a_crowd_agree_with_a_naive_map(void **state) {
  (void)state;
  for (unsigned seed = 1; seed <= 3; seed++) {
    run_random(1, 6, 300 + seed, SPAN_CROWD);
    run_random(256, 14, 400 + seed, SPAN_CROWD - 50);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_new_span_is_one_free_range, make, unmake),
      cmocka_unit_test_setup_teardown(sizes_that_are_none_are_refused, make, unmake),
      cmocka_unit_test_setup_teardown(all_of_it_can_be_one_block, make, unmake),
      cmocka_unit_test_setup_teardown(an_alignment_is_kept_and_what_is_before_stays_free, make,
                                      unmake),
      cmocka_unit_test_setup_teardown(an_exact_fit_is_found_when_nothing_else_is_left, make,
                                      unmake),
      cmocka_unit_test_setup_teardown(an_exact_place_is_taken_once, make, unmake),
      cmocka_unit_test_setup_teardown(without_nodes_nothing_changes, make, unmake),
      cmocka_unit_test_setup_teardown(in_a_crowd_what_was_given_back_is_free, make_crowd,
                                      unmake_crowd),
      cmocka_unit_test_setup_teardown(in_a_crowd_a_take_has_all_that_was_given_back, make_crowd,
                                      unmake_crowd),
      cmocka_unit_test_setup_teardown(in_a_crowd_who_asks_again_gets_the_same, make_crowd,
                                      unmake_crowd),
      cmocka_unit_test_setup_teardown(in_a_crowd_nodes_that_wait_can_be_had, make_crowd,
                                      unmake_crowd),
      cmocka_unit_test_setup_teardown(who_leaves_the_crowd_leaves_nothing_behind, make_crowd,
                                      unmake_crowd),
      cmocka_unit_test(random_sequences_agree_with_a_naive_map),
      cmocka_unit_test(random_sequences_in_a_crowd_agree_with_a_naive_map),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
