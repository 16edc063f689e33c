/* defrag: plans that give whole slabs back and could be carried out as they stand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "memory/defrag.h"

#define GRANULE 256

struct picture {
  struct defrag_snapshot snapshot;
  struct defrag_segment *segments;
  struct defrag_block *blocks;
  unsigned seed;
};

static struct picture *picture_make(uint32_t segments, uint32_t blocks) {
  struct picture *picture = calloc(1, sizeof *picture);
  picture->segments = calloc(segments, sizeof *picture->segments);
  picture->blocks = calloc(blocks, sizeof *picture->blocks);
  picture->snapshot = (struct defrag_snapshot){
      .segments = picture->segments, .blocks = picture->blocks, .granule = GRANULE};
  picture->seed = 1;
  return picture;
}

static void picture_done(struct picture *picture) {
  free(picture->segments);
  free(picture->blocks);
  free(picture);
}

static void add_segment(struct picture *picture, uint64_t size) {
  struct defrag_snapshot *snapshot = &picture->snapshot;
  picture->segments[snapshot->segment_count++] =
      (struct defrag_segment){.size = size, .first_block = snapshot->block_count};
}

static void add_block(struct picture *picture, uint64_t offset, uint64_t size, bool fixed) {
  struct defrag_snapshot *snapshot = &picture->snapshot;
  picture->blocks[snapshot->block_count++] = (struct defrag_block){offset, size, GRANULE, fixed};
  struct defrag_segment *segment = &picture->segments[snapshot->segment_count - 1];
  segment->blocks++;
  segment->taken += units_up(size, GRANULE);
  segment->bytes += size;
  segment->fixed |= fixed;
}

static unsigned draw(struct picture *picture, unsigned below) {
  picture->seed = picture->seed * 1664525u + 1013904223u;
  return (picture->seed >> 8) % below;
}

static uint64_t lost_after(const struct picture *picture, const struct defrag_plan *plan,
                           uint64_t *committed) {
  uint64_t allocated = 0;
  *committed = 0;
  for (uint32_t i = 0; i < picture->snapshot.segment_count; i++)
    *committed += picture->segments[i].blocks ? picture->segments[i].size : 0;
  for (uint32_t i = 0; i < picture->snapshot.block_count; i++)
    allocated += picture->blocks[i].size;
  *committed -= plan->released_bytes;
  return *committed - allocated;
}

/* ---- the laws of a plan ---- */

static void mark(uint8_t *map, uint64_t offset, uint64_t size) {
  for (uint64_t i = offset / GRANULE; i < (offset + size + GRANULE - 1) / GRANULE; i++) {
    assert_int_equal(0, map[i]);
    map[i] = 1;
  }
}

/* Carries the plan out on maps of granules: nothing may be put where something is. */
static void is_possible(const struct picture *picture, const struct defrag_plan *plan) {
  const struct defrag_snapshot *snapshot = &picture->snapshot;
  uint8_t **maps = calloc(snapshot->segment_count, sizeof *maps);
  uint32_t *home = calloc(snapshot->block_count, sizeof *home);
  bool *victim = calloc(snapshot->segment_count, sizeof *victim);
  uint64_t moved = 0, released = 0;
  for (uint32_t i = 0; i < snapshot->segment_count; i++) {
    const struct defrag_segment *segment = &snapshot->segments[i];
    maps[i] = calloc(1, segment->size / GRANULE);
    for (uint32_t b = segment->first_block; b < segment->first_block + segment->blocks; b++) {
      if (segment->size) /* else the vault has lost it */
        mark(maps[i], snapshot->blocks[b].offset, snapshot->blocks[b].size);
      home[b] = i;
    }
  }
  uint32_t of_victims = 0;
  for (uint32_t i = 0; i < plan->victim_count; i++) {
    assert_false(victim[plan->victims[i]]);
    victim[plan->victims[i]] = true;
    released += snapshot->segments[plan->victims[i]].size;
    of_victims += snapshot->segments[plan->victims[i]].blocks;
  }
  assert_int_equal(of_victims, plan->move_count);
  uint32_t at = 0;
  for (uint32_t v = 0; v < plan->victim_count; v++)
    for (uint32_t n = 0; n < snapshot->segments[plan->victims[v]].blocks; n++, at++) {
      const struct defrag_move *move = &plan->moves[at];
      const struct defrag_block *block = &snapshot->blocks[move->block];
      assert_int_equal(plan->victims[v], home[move->block]);
      assert_false(block->fixed);
      assert_false(victim[move->target_segment]);
      assert_int_equal(0, move->target_offset % block->alignment);
      assert_true(move->target_offset + block->size <=
                  snapshot->segments[move->target_segment].size);
      mark(maps[move->target_segment], move->target_offset, block->size);
      moved += block->size;
    }
  assert_int_equal(moved, plan->moved_bytes);
  assert_int_equal(released, plan->released_bytes);
  for (uint32_t i = 0; i < snapshot->segment_count; i++)
    free(maps[i]);
  free(maps);
  free(home);
  free(victim);
}

static void plan_for(const struct picture *picture, enum defrag_strategy strategy,
                     struct defrag_plan *plan) {
  struct defrag_params params = {.strategy = strategy};
  assert_int_equal(STATUS_OK, defrag_plan_make(&picture->snapshot, &params, plan));
  is_possible(picture, plan);
}

static void done(struct picture *picture, struct defrag_plan *plan) {
  defrag_plan_free(plan);
  picture_done(picture);
}

static void random_picture(struct picture *picture, unsigned seed) {
  picture->seed = seed;
  for (unsigned i = 0; i < 40; i++) {
    uint64_t size = MIB << draw(picture, 3), end = 0;
    unsigned fullness = draw(picture, 100);
    add_segment(picture, size);
    for (;;) {
      uint64_t block = 1 + draw(picture, 64 * 1024);
      uint64_t alignment = UINT64_C(256) << (draw(picture, 10) ? 0 : draw(picture, 8));
      uint64_t offset = units_up(end, alignment);
      end = units_up(offset + block, GRANULE);
      if (end > size)
        break;
      if (draw(picture, 100) >= fullness)
        continue;
      add_block(picture, offset, block, !draw(picture, 200));
      picture->blocks[picture->snapshot.block_count - 1].alignment = alignment;
    }
  }
}

static void random_plans_can_be_carried_out(void **state) {
  (void)state;
  for (unsigned seed = 1; seed <= 40; seed++) {
    struct picture *picture = picture_make(40, 40 * 16384);
    struct defrag_plan plan;
    random_picture(picture, seed);
    plan_for(picture, (enum defrag_strategy)(seed % 3), &plan);
    done(picture, &plan);
  }
}

static void a_plan_made_in_pieces_is_the_same(void **state) {
  (void)state;
  for (unsigned seed = 1; seed <= 12; seed++) {
    struct picture *picture = picture_make(40, 40 * 16384);
    struct defrag_params params = {.strategy = (enum defrag_strategy)(seed % 3)};
    struct defrag_planner *planner;
    struct defrag_plan whole;
    random_picture(picture, seed);
    plan_for(picture, params.strategy, &whole);
    assert_int_equal(STATUS_OK, defrag_planner_create(&picture->snapshot, &params, &planner));
    const struct defrag_plan *plan = defrag_planner_go_on(planner, 0);
    assert_int_equal(0, plan->move_count);
    for (uint32_t moves = 1; moves <= whole.move_count; moves = plan->move_count + 1) {
      plan = defrag_planner_go_on(planner, moves);
      assert_true(plan->move_count >= moves);
      assert_memory_equal(whole.moves, plan->moves, plan->move_count * sizeof *plan->moves);
    }
    plan = defrag_planner_go_on(planner, UINT32_MAX);
    assert_int_equal(whole.move_count, plan->move_count);
    assert_int_equal(whole.victim_count, plan->victim_count);
    assert_int_equal(whole.moved_bytes, plan->moved_bytes);
    assert_int_equal(whole.released_bytes, plan->released_bytes);
    defrag_planner_free(planner);
    defrag_plan_free(&whole);
    picture_done(picture);
  }
}

/* ---- what the strategies promise ---- */

static struct picture *every_second_of_100000(void) {
  struct picture *picture = picture_make(200, 50000);
  uint64_t block = 16 * KIB, size = 2 * MIB;
  for (unsigned left = 100000; left; size = units_min(size * 2, 32 * MIB)) {
    add_segment(picture, size);
    for (uint64_t at = 0; at < size && left; at += block, left--)
      if (left % 2)
        add_block(picture, at, block, false);
  }
  return picture;
}

static void thorough_leaves_next_to_nothing(void **state) {
  (void)state;
  struct picture *picture = every_second_of_100000();
  struct defrag_plan plan;
  uint64_t committed;
  plan_for(picture, DEFRAG_THOROUGH, &plan);
  uint64_t lost = lost_after(picture, &plan, &committed);
  assert_true(100 * lost < 3 * committed);
  done(picture, &plan);
}

/* Half of the blocks of 1 … max granules are gone, which ones is chance: holes of all lengths. */
static struct picture *half_gone(unsigned max, unsigned seed) {
  struct picture *picture = picture_make(40, 40 * 16384);
  picture->seed = seed;
  for (unsigned i = 0; i < 40; i++) {
    add_segment(picture, 4 * MIB);
    for (uint64_t at = 0, size; at < 4 * MIB; at += size) {
      size = units_min(GRANULE * (1 + draw(picture, max)), 4 * MIB - at);
      if (draw(picture, 2))
        add_block(picture, at, size, false);
    }
  }
  return picture;
}

static uint32_t partly_used_after(const struct picture *picture, const struct defrag_plan *plan) {
  const struct defrag_snapshot *snapshot = &picture->snapshot;
  uint64_t *used = calloc(snapshot->segment_count, sizeof *used);
  uint32_t partly = 0;
  for (uint32_t i = 0; i < snapshot->segment_count; i++)
    for (uint32_t b = 0; b < snapshot->segments[i].blocks; b++)
      used[i] += snapshot->blocks[snapshot->segments[i].first_block + b].size;
  for (uint32_t i = 0; i < plan->move_count; i++)
    used[plan->moves[i].target_segment] += snapshot->blocks[plan->moves[i].block].size;
  for (uint32_t i = 0; i < plan->victim_count; i++)
    used[plan->victims[i]] = 0;
  for (uint32_t i = 0; i < snapshot->segment_count; i++)
    partly += used[i] && used[i] < snapshot->segments[i].size;
  free(used);
  return partly;
}

static void equal_blocks_leave_one_slab_partly_used(void **state) {
  (void)state;
  for (unsigned seed = 1; seed <= 5; seed++) {
    struct picture *picture = half_gone(1, seed);
    struct defrag_plan plan;
    plan_for(picture, DEFRAG_THOROUGH, &plan);
    assert_true(partly_used_after(picture, &plan) <= 1);
    done(picture, &plan);
  }
}

/* What is left are holes that no block fits in: few percent, not the half it was. */
static void blocks_of_all_sizes_do_not_spread_over_all_slabs(void **state) {
  (void)state;
  for (unsigned seed = 1; seed <= 5; seed++) {
    struct picture *picture = half_gone(256, seed);
    struct defrag_plan plan;
    uint64_t committed;
    plan_for(picture, DEFRAG_THOROUGH, &plan);
    uint64_t lost = lost_after(picture, &plan, &committed);
    assert_true(100 * lost < 10 * committed);
    done(picture, &plan);
  }
}

/* The second block was made after the first was gone; both are in a snapshot made in pieces. */
static void blocks_that_overlap_keep_their_slab_and_their_place(void **state) {
  (void)state;
  struct picture *picture = picture_make(2, 3);
  struct defrag_plan plan;
  struct defrag_params params = {.strategy = DEFRAG_THOROUGH};
  add_segment(picture, 16384); /* the emptiest, and would be the victim */
  add_block(picture, 0, 1024, false);
  add_block(picture, 512, 1024, false);
  add_segment(picture, 4096);
  add_block(picture, 0, 2048, false);
  assert_int_equal(STATUS_OK, defrag_plan_make(&picture->snapshot, &params, &plan));
  assert_int_equal(1, plan.move_count);
  assert_int_equal(2, plan.moves[0].block);
  assert_int_equal(0, plan.moves[0].target_segment);
  assert_int_equal(1536, plan.moves[0].target_offset);
  done(picture, &plan);
}

/* A victim that is given up leaves no trace: the next one finds the ranges it had. */
static void a_victim_that_does_not_fit_takes_nothing_from_the_next(void **state) {
  (void)state;
  struct picture *picture = picture_make(4, 6);
  struct defrag_plan plan;
  add_segment(picture, 64 * KIB); /* the emptiest: 17 KiB find a place, 12 KiB do not */
  add_block(picture, 0, 17 * KIB, false);
  add_block(picture, 17 * KIB, 12 * KIB, false);
  add_segment(picture, 32 * KIB);
  add_block(picture, 7 * KIB, 17 * KIB, false);
  add_segment(picture, 32 * KIB); /* fits in the first one only */
  add_block(picture, 6 * KIB, 20 * KIB, false);
  add_segment(picture, 128 * KIB);
  add_block(picture, 0, 100 * KIB, false);
  add_block(picture, 117 * KIB, 11 * KIB, false);
  plan_for(picture, DEFRAG_THOROUGH, &plan);
  assert_int_equal(2, plan.victim_count);
  assert_int_equal(1, plan.victims[0]);
  assert_int_equal(3, plan.moves[0].target_segment);
  assert_int_equal(100 * KIB, plan.moves[0].target_offset);
  assert_int_equal(2, plan.victims[1]);
  assert_int_equal(0, plan.moves[1].target_segment);
  done(picture, &plan);
}

static void balanced_stops_below_ten_percent(void **state) {
  (void)state;
  struct picture *picture = every_second_of_100000();
  struct defrag_plan balanced, thorough;
  uint64_t committed;
  plan_for(picture, DEFRAG_BALANCED, &balanced);
  plan_for(picture, DEFRAG_THOROUGH, &thorough);
  uint64_t lost = lost_after(picture, &balanced, &committed);
  assert_true(10 * lost < committed);
  assert_true(balanced.moved_bytes < thorough.moved_bytes);
  defrag_plan_free(&balanced);
  defrag_plan_free(&thorough);
  picture_done(picture);
}

static void quick_takes_slabs_under_a_quarter_only(void **state) {
  (void)state;
  struct picture *picture = picture_make(3, 100);
  struct defrag_plan plan;
  add_segment(picture, MIB); /* 1/8 */
  add_block(picture, 0, 128 * KIB, false);
  add_segment(picture, MIB); /* 1/4 */
  add_block(picture, 0, 256 * KIB, false);
  add_segment(picture, MIB); /* half */
  add_block(picture, 0, 512 * KIB, false);
  plan_for(picture, DEFRAG_QUICK, &plan);
  assert_int_equal(1, plan.victim_count);
  assert_int_equal(0, plan.victims[0]);
  done(picture, &plan);
}

static void a_fixed_block_keeps_its_slab(void **state) {
  (void)state;
  struct picture *picture = picture_make(2, 2);
  struct defrag_plan plan;
  add_segment(picture, MIB);
  add_block(picture, 4096, 4096, true);
  add_segment(picture, MIB);
  add_block(picture, 0, 512 * KIB, false);
  plan_for(picture, DEFRAG_THOROUGH, &plan);
  assert_int_equal(1, plan.victim_count);
  assert_int_equal(1, plan.victims[0]);
  done(picture, &plan);
}

static void what_cannot_be_helped_is_left(void **state) {
  (void)state;
  struct picture *picture = picture_make(3, 3);
  struct defrag_plan plan;
  for (unsigned i = 0; i < 2; i++) {
    add_segment(picture, MIB);
    add_block(picture, 256 * KIB, 512 * KIB, false);
  }
  add_segment(picture, MIB); /* empty: no target, for it goes back anyway */
  plan_for(picture, DEFRAG_THOROUGH, &plan);
  assert_int_equal(0, plan.move_count);
  assert_int_equal(0, plan.victim_count);
  done(picture, &plan);
}

static void a_limit_of_bytes_is_kept_to_a_slab(void **state) {
  (void)state;
  struct picture *picture = every_second_of_100000();
  struct defrag_plan plan;
  struct defrag_params params = {DEFRAG_THOROUGH, 8 * MIB};
  assert_int_equal(STATUS_OK, defrag_plan_make(&picture->snapshot, &params, &plan));
  is_possible(picture, &plan);
  assert_true(plan.moved_bytes >= 8 * MIB && plan.moved_bytes < 8 * MIB + 32 * MIB);
  done(picture, &plan);
}

static void nothing_is_planned_for_nothing(void **state) {
  (void)state;
  struct picture *picture = picture_make(1, 1);
  struct defrag_plan plan;
  plan_for(picture, DEFRAG_THOROUGH, &plan);
  assert_int_equal(0, plan.move_count);
  done(picture, &plan);
}

/* Of one that the vault does not have any more the blocks are known, and no bytes. */
static void a_slab_without_bytes_is_left(void **state) {
  (void)state;
  struct picture *picture = picture_make(3, 3);
  struct defrag_plan plan;
  add_segment(picture, 0);
  add_block(picture, 0, GRANULE, true);
  for (unsigned i = 0; i < 2; i++) {
    add_segment(picture, 4 * GRANULE);
    add_block(picture, 0, GRANULE, false);
  }
  plan_for(picture, DEFRAG_THOROUGH, &plan);
  assert_int_equal(1, plan.move_count);
  assert_int_not_equal(0, plan.moves[0].target_segment);
  done(picture, &plan);
}

/* Blocks are looked at when it is their turn. */
struct looker {
  struct picture *picture;
  unsigned looks[8], to_move[8]; /* of each segment */
  uint32_t fixes, hides;         /* segments: what is in it got fixed; it is gone */
};

static bool look(void *arg, uint32_t segment, bool to_move) {
  struct looker *looker = arg;
  looker->looks[segment]++;
  looker->to_move[segment] += to_move;
  if (segment == looker->fixes)
    looker->picture->blocks[looker->picture->segments[segment].first_block].fixed = true;
  return segment != looker->hides;
}

/* Four slabs, from an eighth to a half full, and one that is nearly. */
static void five_slabs(struct picture *picture, struct looker *looker) {
  for (unsigned i = 0; i < 5; i++) {
    add_segment(picture, MIB);
    add_block(picture, 0, i < 4 ? (i + 1) * 128 * KIB : 960 * KIB, false);
  }
  *looker = (struct looker){.picture = picture, .fixes = UINT32_MAX, .hides = UINT32_MAX};
  picture->snapshot.look = look;
  picture->snapshot.arg = looker;
}

static void only_what_is_needed_is_looked_at(void **state) {
  (void)state;
  struct picture *picture = picture_make(5, 5);
  struct looker looker;
  struct defrag_plan plan;
  five_slabs(picture, &looker);
  plan_for(picture, DEFRAG_QUICK, &plan); /* the first into the fullest that has room */
  assert_int_equal(1, plan.victim_count);
  assert_int_equal(3, plan.moves[0].target_segment);
  static const unsigned looks[] = {1, 0, 0, 1, 0}, to_move[] = {1, 0, 0, 0, 0};
  assert_memory_equal(looks, looker.looks, sizeof looks);
  assert_memory_equal(to_move, looker.to_move, sizeof to_move);
  done(picture, &plan);
}

static void what_a_look_shows_counts(void **state) {
  (void)state;
  struct picture *picture = picture_make(5, 5);
  struct looker looker;
  struct defrag_plan plan;
  five_slabs(picture, &looker);
  looker.fixes = 0;
  looker.hides = 3;
  plan_for(picture, DEFRAG_THOROUGH, &plan); /* the second into the third, for the last is gone */
  assert_int_equal(1, plan.victim_count);
  assert_int_equal(1, plan.victims[0]);
  assert_int_equal(2, plan.moves[0].target_segment);
  done(picture, &plan);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_plans_can_be_carried_out),
      cmocka_unit_test(a_plan_made_in_pieces_is_the_same),
      cmocka_unit_test(thorough_leaves_next_to_nothing),
      cmocka_unit_test(equal_blocks_leave_one_slab_partly_used),
      cmocka_unit_test(blocks_of_all_sizes_do_not_spread_over_all_slabs),
      cmocka_unit_test(blocks_that_overlap_keep_their_slab_and_their_place),
      cmocka_unit_test(a_victim_that_does_not_fit_takes_nothing_from_the_next),
      cmocka_unit_test(balanced_stops_below_ten_percent),
      cmocka_unit_test(quick_takes_slabs_under_a_quarter_only),
      cmocka_unit_test(a_fixed_block_keeps_its_slab),
      cmocka_unit_test(what_cannot_be_helped_is_left),
      cmocka_unit_test(a_limit_of_bytes_is_kept_to_a_slab),
      cmocka_unit_test(nothing_is_planned_for_nothing),
      cmocka_unit_test(a_slab_without_bytes_is_left),
      cmocka_unit_test(only_what_is_needed_is_looked_at),
      cmocka_unit_test(what_a_look_shows_counts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
